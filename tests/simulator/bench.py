"""`python -m tests.simulator --bench`: how many counted failovers a second of one core, with all checkers on.

A failover counts only if a client was acknowledged before and after it, the loss was detected from facts (nobody
asked for it), and the cluster became whole afterwards. Measured twice: over dense plans (three members, three
control nodes, profile fast, a lost primary every round), and over the swarm's ordinary mix, where much of the
time goes to clusters of seven, slow profiles, waits, and faults that are no failover.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from tests.simulator.check_outage import COUNTED
from tests.simulator.dice import Dice
from tests.simulator.plan import Plan, Round, Timed, plan_of
from tests.simulator.swarm import run

_LOSSES = ("crash_primary", "crash_primary", "lose_primary", "isolate_primary", "cascade")
_ROUNDS = 12


def dense(seed: int) -> Plan:
    dice = Dice(seed)
    rounds = (
        Round(dice.between(100, 900), (Timed(0, dice.pick(_LOSSES), dice.draw(1 << 20)),))
        for _ in range(_ROUNDS)
    )
    return Plan(seed, controls=3, profile="fast", write_every_ms=20, rounds=tuple(rounds))


def main(first: int, seconds: float) -> int:
    return _measured("dense plans", dense, first, seconds / 2) or _measured(
        "the swarm's mix", plan_of, first, seconds / 2
    )


def _measured(what: str, plan: Callable[[int], Plan], first: int, seconds: float) -> int:
    totals: Counter[str] = Counter()
    steps = seeds = virtual_s = 0
    began = time.process_time()
    while time.process_time() - began < seconds:
        outcome = run(plan(first + seeds))
        seeds += 1
        totals.update(outcome.counts)
        steps += outcome.steps
        virtual_s += outcome.virtual_s
        if outcome.violation:
            print(f"VIOLATION in seed {outcome.seed} of {what}: {outcome.violation}")
            return 1
    took_s = time.process_time() - began
    counted = totals[COUNTED]
    print(
        f"bench-sim, {what}: {counted / took_s:.1f} counted failovers in a second of one core "
        f"({counted} of {totals['failovers']} in {took_s:.1f} s; seeds {first} to {first + seeds - 1}, "
        f"{virtual_s} virtual seconds, {steps // max(1, counted)} events for each)",
        flush=True,
    )
    return 0
