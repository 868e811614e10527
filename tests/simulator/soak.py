"""`python -m tests.simulator --soak`: fresh seeds for hours on all cores; failing ones are kept in a file.

Each process takes every n-th seed. A failing seed does not end the soak.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from pathlib import Path

from tests.simulator.swarm import run

KEPT = Path(os.environ.get("PRIMACY_SOAK_FILE", "simulator-failing-seeds.txt"))
_TOLD_EVERY_S = 60.0


def main(first: int, hours: float, jobs: int) -> int:
    count = jobs or len(os.sched_getaffinity(0))
    until = time.monotonic() + hours * 3600
    print(f"soak: first seed {first}, {count} processes, {hours} h; failing seeds go to {KEPT}", flush=True)
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        answers = pool.starmap(_work, [(first + at, count, until) for at in range(count)])
    totals: Counter[str] = Counter()
    for counts in answers:
        totals.update(counts)
    for what in sorted(totals):
        print(f"  {what:<50} {totals[what]:>10}")
    return 1 if totals["violations"] else 0


def _work(first: int, step: int, until: float) -> Counter[str]:
    totals: Counter[str] = Counter()
    seed, told_at = first, time.monotonic()
    while time.monotonic() < until:
        outcome = run(seed)
        totals.update(outcome.counts)
        totals["seeds"] += 1
        totals["virtual seconds"] += outcome.virtual_s
        if outcome.violation:
            totals["violations"] += 1
            with KEPT.open("a") as file:
                file.write(f"{seed} {outcome.violation[:300]}\n")
            print(f"VIOLATION in seed {seed}: {outcome.violation[:300]}", flush=True)
        if time.monotonic() - told_at > _TOLD_EVERY_S:
            told_at = time.monotonic()
            print(
                f"{totals['seeds']} seeds, {totals['failovers']} failovers, {totals['violations']} violations",
                flush=True,
            )
        seed += step
    return totals
