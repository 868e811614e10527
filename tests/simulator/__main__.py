"""`python -m tests.simulator`: fresh seeds for some seconds; the totals, none of which may be zero."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections import Counter

from tests.simulator.swarm import run

NEVER_ZERO = (
    "failovers",
    "crashes between two durable steps",
    "torn ends",
    "late orders obeyed",
    "late orders refused",
    "rule changes cut by a failover",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="run fresh seeds for this long")
    parser.add_argument("--seeds", type=int, default=0, help="run exactly this many seeds instead")
    parser.add_argument("--seed", type=int, help="the first seed (default: drawn); the others follow it")
    parser.add_argument("--trace", action="store_true", help="print the trace of the last seed")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else secrets.randbelow(10**9)
    print(f"simulator: first seed {first}", flush=True)
    totals: Counter[str] = Counter()
    began, cpu_began = time.monotonic(), time.process_time()
    virtual_s = 0
    seed = first
    while (seed - first < options.seeds) if options.seeds else (time.monotonic() - began < options.seconds):
        outcome = run(seed)
        totals.update(outcome.counts)
        virtual_s += outcome.virtual_s
        if outcome.violation:
            print("\n".join(outcome.trace[-80:]))
            print(f"VIOLATION in seed {seed}: {outcome.violation}")
            print(f"again: python -m tests.simulator --seeds 1 --seed {seed}")
            return 1
        seed += 1
    took = time.monotonic() - began
    cpu_s = time.process_time() - cpu_began
    print(
        f"{seed - first} seeds, {virtual_s} virtual seconds in {took:.1f} s ({cpu_s:.1f} s of processor, "
        f"{totals['failovers'] / cpu_s:.1f} failovers in each), all clean"
    )
    for what in sorted(set(totals) | set(NEVER_ZERO)):
        print(f"  {what:<40} {totals[what]:>8}")
    missing = [what for what in NEVER_ZERO if not totals[what]]
    if missing and not options.seeds:
        print(f"never happened, so nothing was shown about it: {', '.join(missing)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
