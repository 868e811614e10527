"""`python -m tests.simulator --bench`: how many counted failovers a second of one core, with all checkers on.

A failover counts only if a client was acknowledged before and after it, the loss was detected from facts (nobody
asked for it), and the cluster became whole afterwards. The seeds are ordinary ones of the swarm.
"""

from __future__ import annotations

import time
from collections import Counter

from tests.simulator.check_outage import COUNTED
from tests.simulator.swarm import run


def main(first: int, seconds: float) -> int:
    totals: Counter[str] = Counter()
    steps = seeds = virtual_s = 0
    began = time.process_time()
    while time.process_time() - began < seconds:
        outcome = run(first + seeds)
        seeds += 1
        totals.update(outcome.counts)
        steps += outcome.steps
        virtual_s += outcome.virtual_s
        if outcome.violation:
            print(f"VIOLATION in seed {outcome.seed}: {outcome.violation}")
            return 1
    took_s = time.process_time() - began
    counted = totals[COUNTED]
    print(
        f"bench-sim: {counted / took_s:.1f} counted failovers in a second of one core "
        f"({counted} of {totals['failovers']} in {took_s:.1f} s; seeds {first} to {first + seeds - 1}, "
        f"{virtual_s} virtual seconds, {steps // max(1, counted)} events for each)"
    )
    return 0
