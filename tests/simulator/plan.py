"""What a run of the swarm does, drawn from one seed and printed: a fleet, and timed faults in rounds.

A plan is a value. It can be written down, read again, and made smaller (`shrink.py`); running it twice gives the
same trace. Every fault has dice of its own, so that taking one away leaves the choices of the others alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tests.simulator.dice import Dice
from tests.simulator.faults import AIMED, CLAUSES, CONTROL, EXPERIMENTS, HARD, HOST, KINDS, PLAIN, RARE

WEATHERS = ("calm", "calm", "calm", "lossy", "slow", "stormy")
_ROUNDS = (0, 1, 1, 2, 2, 3, 4, 8)
"""How many follow the experiment: many short runs, and some in which one thing leads to another."""
_SHARES = (AIMED, AIMED, AIMED, AIMED, HOST, HOST, CLAUSES, HARD, CONTROL, CONTROL, PLAIN, PLAIN)
"""What a fault is drawn from, each as often as the others."""


@dataclass(frozen=True, slots=True)
class Timed:
    at_ms: int
    """From the beginning of its round."""
    fault: str
    dice: int


@dataclass(frozen=True, slots=True)
class Round:
    lasts_ms: int
    """Then everything heals."""
    faults: tuple[Timed, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    members: int = 3
    controls: int = 1
    sites: int = 1
    k: int = 1
    profile: str = "default"
    strict: bool = False
    drift_permille: int = 0
    """The control nodes' clocks run wrong by up to so much."""
    weather: str = "calm"
    write_every_ms: int = 20
    rounds: tuple[Round, ...] = ()

    def with_round(self, number: int, changed: Round) -> Plan:
        rounds = (*self.rounds[:number], changed, *self.rounds[number + 1 :])
        return replace(self, rounds=rounds)

    @property
    def faults(self) -> int:
        return sum(len(one.faults) for one in self.rounds)

    # ---- as text ----

    def lines(self) -> Iterator[str]:
        for name in _OPTIONS:
            yield f"{name} {getattr(self, name)}"
        for one in self.rounds:
            yield f"round lasts={one.lasts_ms}"
            for timed in one.faults:
                yield f"  {timed.at_ms} {timed.fault} dice={timed.dice}"

    def text(self) -> str:
        return "\n".join(self.lines()) + "\n"


_OPTIONS = (
    "seed", "members", "controls", "sites", "k", "profile", "strict", "drift_permille", "weather",
    "write_every_ms",
)  # fmt: skip


def read(text: str) -> Plan:
    """What `Plan.text` wrote; lines that begin with # are for people."""
    options: dict[str, str] = {}
    rounds: list[Round] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "round":
            rounds.append(Round(int(words[1].removeprefix("lasts=")), ()))
        elif line.startswith(" "):
            timed = Timed(int(words[0]), words[1], int(words[2].removeprefix("dice=")))
            if timed.fault not in KINDS:
                raise ValueError(f"no such fault: {timed.fault}")
            rounds[-1] = replace(rounds[-1], faults=(*rounds[-1].faults, timed))
        else:
            options[words[0]] = words[1]
    numbers = {name: int(options[name]) for name in _OPTIONS if options[name].lstrip("-").isdigit()}
    return Plan(
        **numbers,
        profile=options["profile"],
        strict=options["strict"] == "True",
        weather=options["weather"],
        rounds=tuple(rounds),
    )


def plan_of(seed: int) -> Plan:
    """Everything from the seed."""
    dice = Dice(seed * 2 + 1)
    members = dice.pick((2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 7))
    k = dice.between(1, min(members - 1, 3)) if members > 2 and dice.chance(500) else 1
    return Plan(
        seed=seed,
        members=members,
        controls=dice.pick((1, 2, 3, 3, 3, 4, 5)),
        sites=dice.pick((1, 1, 2, 3)),
        k=k,
        profile=dice.pick(("fast",) * 5 + ("default",) * 5 + ("patient",)),
        strict=dice.chance(100),
        drift_permille=dice.pick((0, 0, 10, 50)),
        weather=dice.pick(WEATHERS),
        write_every_ms=dice.pick((10, 20, 40, 40)),
        rounds=(_experiment(dice), *_rounds(dice)),
    )


def _experiment(dice: Dice) -> Round:
    return Round(100, (Timed(0, dice.pick(EXPERIMENTS), dice.draw(1 << 20)),))


def _rounds(dice: Dice) -> tuple[Round, ...]:
    """A run has a mix of its own: some kinds of faults never come in it, others more often."""
    shares = dice.some(_SHARES, dice.between(3, len(_SHARES)))
    return tuple(_round(dice, shares) for _ in range(dice.pick(_ROUNDS)))


def _round(dice: Dice, shares: Sequence[Sequence[str]]) -> Round:
    """An aimed fault, and now and then others beside it."""
    at_ms = 0
    faults: list[Timed] = []
    for _ in range(dice.pick((1, 1, 2, 3))):
        kind = dice.pick(dice.pick(shares))
        faults.append(Timed(at_ms, kind, dice.draw(1 << 20)))
        at_ms += dice.between(1, 1_500)
    if dice.chance(130):
        faults.append(Timed(at_ms, dice.pick(RARE), dice.draw(1 << 20)))
    return Round(at_ms + dice.between(100, 2_500), tuple(faults))
