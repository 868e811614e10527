"""`python -m tests.simulator`: fresh seeds for some seconds; the totals, none of which may be zero.

--seed N --seeds 1 [--trace]   one seed again, with its plan
--shrink N                     a failing seed made small, written below plans/
--plan FILE                    a plan that was written down
--bench                        counted failovers in a second of one core, and events for each
--soak --hours H [--jobs J] [--json FILE]
                               go on; failing seeds are kept in a file, totals in another
--compiled                     beside any of these: more than twice as fast, once it is compiled
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections import Counter
from pathlib import Path

from tests.simulator import bench, soak
from tests.simulator.plan import plan_of, read
from tests.simulator.shrink import shrink, written
from tests.simulator.swarm import Outcome, run

NEVER_ZERO = (
    "failovers",
    "crashes between two durable steps",
    "torn ends",
    "late orders obeyed",
    "late orders refused",
    "rule changes cut by a failover",
    "control nodes frozen",
    "etcd without a majority",
    "observers asked",
    "datagrams lost",
    "outages judged",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulator", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="run fresh seeds for this long")
    parser.add_argument("--seeds", type=int, default=0, help="run exactly this many seeds instead")
    parser.add_argument("--seed", type=int, help="the first seed (default: drawn); the others follow it")
    parser.add_argument("--trace", action="store_true", help="print plan and trace of the last seed")
    parser.add_argument("--shrink", type=int, metavar="SEED")
    parser.add_argument(
        "--tries", type=int, default=400, help="how many smaller plans --shrink runs at the most"
    )
    parser.add_argument("--plan", type=Path, metavar="FILE")
    parser.add_argument("--bench", action="store_true")
    parser.add_argument("--soak", action="store_true")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--jobs", type=int, default=0, help="processes of the soak (default: one for a core)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where a soak writes its totals")
    parser.add_argument("--compiled", action="store_true", help="run what mypyc made of it")
    options = parser.parse_args()
    if options.compiled:
        module = "tests.simulator"
        rest = [word for word in sys.argv[1:] if word != "--compiled"]
        os.execv(sys.executable, [sys.executable, "-m", f"{module}.compiled", module, *rest])
    first: int = options.seed if options.seed is not None else secrets.randbelow(10**9)
    if options.bench:
        return bench.main(first, options.seconds)
    if options.soak:
        return soak.main(first, options.hours, options.jobs, options.json)
    if options.shrink is not None:
        return _shrink(options.shrink, options.tries)
    if options.plan is not None:
        return _told(run(read(options.plan.read_text())), f"--plan {options.plan}", trace=options.trace)
    return _fresh(first, options.seeds, options.seconds, trace=options.trace)


def _fresh(first: int, seeds: int, seconds: float, *, trace: bool) -> int:
    print(f"simulator: first seed {first}", flush=True)
    totals: Counter[str] = Counter()
    began, cpu_began = time.monotonic(), time.process_time()
    virtual_s = 0
    seed = first
    while (seed - first < seeds) if seeds else (time.monotonic() - began < seconds):
        outcome = run(seed)
        totals.update(outcome.counts)
        virtual_s += outcome.virtual_s
        if outcome.violation or (trace and seed - first == seeds - 1):
            print(plan_of(seed).text())
            if _told(outcome, f"--seeds 1 --seed {seed}", trace=trace):
                return 1
        seed += 1
    took = time.monotonic() - began
    cpu_s = time.process_time() - cpu_began
    print(
        f"simulator: seeds {first} to {seed - 1}: {seed - first} seeds, {virtual_s} virtual seconds in {took:.1f} s "
        f"({cpu_s:.1f} s of processor, {totals['failovers'] / cpu_s:.1f} failovers in each), all clean"
    )
    for what in sorted(set(totals) | set(NEVER_ZERO)):
        print(f"  {what:<50} {totals[what]:>8}")
    missing = [what for what in NEVER_ZERO if not totals[what]]
    if missing and not seeds:
        print(f"never happened, so nothing was shown about it: {', '.join(missing)}")
        return 1
    return 0


def _told(outcome: Outcome, again: str, *, trace: bool) -> int:
    if outcome.violation or trace:
        print("\n".join(outcome.trace if trace else outcome.trace[-80:]))
    if not outcome.violation:
        print(f"clean; digest {outcome.digest}")
        return 0
    print(f"VIOLATION in seed {outcome.seed}: {outcome.violation}")
    print(f"again: python -m tests.simulator {again}")
    return 1


def _shrink(seed: int, tries: int) -> int:
    plan = plan_of(seed)
    if not run(plan).violation:
        print(f"seed {seed} is clean")
        return 0
    plan = shrink(plan, say=lambda text: print(text, flush=True), tries_max=tries)
    outcome = run(plan)
    path = written(plan, outcome)
    print(plan.text())
    print(f"{path}: {outcome.violation}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
