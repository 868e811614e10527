"""A failing plan made small: fewer faults, members, control nodes, shorter times, as long as it fails alike.

"Alike" is the kind of the violation: its first words, without names and numbers. What is left is written as a
plan file that a person can read and a test replays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.simulator.plan import Plan, Round
from tests.simulator.swarm import Outcome, run

FOLDER = Path(__file__).parent / "plans"
_VARYING = re.compile(r"[\d/@.]+|\b[a-g]\b|\bn\d\b|'[^']*'|\[.*|\(.*")
_TRIES_MAX = 400
_TOLD_MAX = 60
"""Lines of a trace that a person reads."""


def kind_of(violation: str) -> str:
    """What stays the same when names, numbers and details differ."""
    return " ".join(_VARYING.sub("", violation).split()[:8])


def shrink(
    plan: Plan,
    *,
    violation_of: Callable[[Plan], str] = lambda plan: run(plan).violation,
    say: Callable[[str], None] = lambda text: None,
    tries_max: int = _TRIES_MAX,
) -> Plan:
    """The smallest plan found that fails with the same kind of violation."""
    wanted = kind_of(violation_of(plan))
    if not wanted:
        raise ValueError(f"seed {plan.seed} does not fail")
    tried = 0
    smaller = True
    while smaller and tried < tries_max:
        smaller = False
        for candidate in _smaller(plan):
            tried += 1
            if tried > tries_max:
                break
            if kind_of(violation_of(candidate)) == wanted:
                plan, smaller = candidate, True
                say(f"{plan.faults} faults in {len(plan.rounds)} rounds, {plan.members} members: still fails")
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Big steps first."""
    rounds = plan.rounds
    for kept in range(1, len(rounds)):
        yield replace(plan, rounds=rounds[len(rounds) - kept :])
        yield replace(plan, rounds=rounds[:kept])
    for number in range(len(rounds)):
        yield replace(plan, rounds=(*rounds[:number], *rounds[number + 1 :]))
    for number, one in enumerate(rounds):
        for gone in range(len(one.faults)):
            faults = (*one.faults[:gone], *one.faults[gone + 1 :])
            yield plan.with_round(number, Round(one.lasts_ms, faults))
    yield from _simpler(plan)
    for number, one in enumerate(rounds):
        latest_ms = max((timed.at_ms for timed in one.faults), default=0)
        if one.lasts_ms > latest_ms + 100:
            yield plan.with_round(number, replace(one, lasts_ms=(one.lasts_ms + latest_ms) // 2))


def _simpler(plan: Plan) -> Iterator[Plan]:
    """Options nearer to the plainest fleet."""
    if plan.weather != "calm":
        yield replace(plan, weather="calm")
    if plan.drift_permille:
        yield replace(plan, drift_permille=0)
    if plan.sites > 1:
        yield replace(plan, sites=1)
    if plan.controls > 1:
        yield replace(plan, controls=plan.controls - 1)
    if plan.members > 2 and plan.k < plan.members - 1:
        yield replace(plan, members=plan.members - 1)
    if plan.k > 1:
        yield replace(plan, k=plan.k - 1)
    if plan.strict:
        yield replace(plan, strict=False)
    if plan.profile != "default":
        yield replace(plan, profile="default")


def written(plan: Plan, outcome: Outcome, folder: Path = FOLDER) -> Path:
    """As a file for `test_plans.py`, named after its seed, that tells what happens in it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"seed_{plan.seed}.plan"
    head = [*told(outcome.trace), f"#   VIOLATION {outcome.violation[:300]}"]
    path.write_text("\n".join(head) + f"\n{plan.text()}")
    return path


def told(trace: Sequence[str]) -> Iterator[str]:
    """What happens from the first round on, as remarks; of a long run its beginning and its end."""
    begins = next((at for at, line in enumerate(trace) if "  round 0" in line), 0)
    lines = [f"# {line[:200]}" for line in trace[begins:]]
    if len(lines) > _TOLD_MAX:
        lines[_TOLD_MAX // 3 : -_TOLD_MAX * 2 // 3] = ["#   (more of the same)"]
    yield "# What happens:"
    yield from lines
