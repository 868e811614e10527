"""What a soak plays: rounds drawn from the catalogue of chaos, on a seed. The same seed draws the same rounds.

Pure. Each round has dice of its own, so any of them can be played again alone. Most have one fault; in the others a
second one, and now and then a third, begins while the first is in force or is being healed. Timing is not drawn twice
alike by real parts: the draws are the same again, what comes of them is not.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from tests.chaos.scenario import Scenario

TOGETHER_SHARE = 0.35
THIRD_SHARE = 0.2
"""Of those with a second one."""
HEALING_SHARE = 0.3
"""Of the further ones: they begin after the first was mended, while the cluster is on its way to be whole."""
HEALING_WITHIN_S = 3.0
DECIDED_WITHIN_S = 1.5
"""By then a failover has mostly happened: a share of the further faults fall into it."""
IN_FORCE_WITHIN_S = 8.0
WHOLE_MORE_S = 60.0
"""What several faults may take longer than the slowest of them."""


class When(Enum):
    FIRST = "first"
    IN_FORCE = "in force"
    HEALING = "healing"


@dataclass(frozen=True, slots=True)
class Part:
    scenario: Scenario
    when: When
    after_s: float
    """Since the first fault's scene began; HEALING: since it was mended. Nobody waits beyond the first one's end."""

    def __str__(self) -> str:
        if self.when is When.FIRST:
            return self.scenario.name
        return f"{self.scenario.name} ({self.when.value}, after {self.after_s:.1f} s)"


@dataclass(frozen=True, slots=True)
class Round:
    number: int
    """From 1."""
    parts: tuple[Part, ...]

    @property
    def is_alone(self) -> bool:
        return len(self.parts) == 1

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))

    @property
    def whole_within_s(self) -> float:
        slowest_s = max(part.scenario.whole_within_s for part in self.parts)
        return slowest_s if self.is_alone else slowest_s + WHOLE_MORE_S

    @property
    def bounds_stale_reads(self) -> bool:
        """False where both the agent and the guard, who stand in for each other, may be hurt at once."""
        hurt = [part.scenario for part in self.parts if part.scenario.hurts_the_guard]
        both = any("agent and guard" in scenario.name for scenario in hurt)
        return self.is_alone or not (both or len(hurt) > 1)


def rounds(seed: int, catalogue: Sequence[Scenario], first: int = 1) -> Iterator[Round]:
    """Without an end."""
    number = first
    while True:
        yield _round(number, random.Random(f"soak {seed} {number}"), catalogue)
        number += 1


def dice_of(seed: int, number: int, part: int) -> random.Random:
    """What is left to chance inside a fault, such as its moment or the member it falls on."""
    return random.Random(f"soak {seed} {number} {part}")


def _round(number: int, dice: random.Random, catalogue: Sequence[Scenario]) -> Round:
    first = dice.choice(catalogue)
    # All are drawn whether they are needed or not, so that a change of a share moves as little as possible.
    wants_second, wants_third = dice.random() < TOGETHER_SHARE, dice.random() < THIRD_SHARE
    parts = [Part(first, When.FIRST, 0.0)]
    fit = [scenario for scenario in catalogue if not scenario.only_alone]
    if wants_second and fit and not first.only_alone:
        parts += [_further(dice, fit) for _ in range(2 if wants_third else 1)]
    return Round(number, tuple(parts))


def _further(dice: random.Random, fit: Sequence[Scenario]) -> Part:
    scenario = dice.choice(fit)
    if dice.random() < HEALING_SHARE:
        return Part(scenario, When.HEALING, round(dice.uniform(0, HEALING_WITHIN_S), 2))
    within_s = DECIDED_WITHIN_S if dice.random() < 0.5 else IN_FORCE_WITHIN_S
    return Part(scenario, When.IN_FORCE, round(dice.uniform(0, within_s), 2))
