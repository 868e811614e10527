"""`python -m tests.simulator --soak`: fresh seeds for hours on all cores; failing ones are kept in a file.

Each process takes every n-th seed. A failing seed does not end the soak. With `--json FILE` the totals are written
there once a minute, so that a soak that is cut off still counts (tests/simulator/evidence.py makes the page of them).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from tests.simulator.swarm import run

KEPT = Path(os.environ.get("PRIMACY_SOAK_FILE", "simulator-failing-seeds.txt"))
_TOLD_EVERY_S = 60.0
_ROOT = Path(__file__).resolve().parents[2]

Part = tuple[Mapping[str, int], list[tuple[int, str]]]
"""Counts since the last one, and (seed, what was violated)."""


@dataclass
class Totals:
    first: int
    processes: int
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    began_s: float = field(default_factory=time.monotonic)
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)

    def add(self, part: Part) -> None:
        counts, violations = part
        self.counts.update(counts)
        self.violations += violations

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "commit": _commit(),
            "began": self.began.isoformat(timespec="seconds"),
            "took_s": round(time.monotonic() - self.began_s),
            "cores": len(os.sched_getaffinity(0)),
            "first_seed": self.first,
            "processes": self.processes,
            "counts": dict(sorted(self.counts.items())),
            "violations": [{"seed": seed, "said": said} for seed, said in self.violations],
        }


def main(first: int, hours: float, jobs: int, into: Path | None = None) -> int:
    count = jobs or len(os.sched_getaffinity(0))
    print(f"soak: first seed {first}, {count} processes, {hours} h; failing seeds go to {KEPT}", flush=True)
    totals = Totals(first, count)
    context = multiprocessing.get_context("spawn")
    parts: Queue[Part] = context.Queue()
    until = time.monotonic() + hours * 3600
    workers = [context.Process(target=_work, args=(first + at, count, until, parts)) for at in range(count)]
    for worker in workers:
        worker.start()
    try:
        _gather(workers, parts, totals, into)
    finally:
        for worker in workers:
            worker.terminate()
    for what in sorted(totals.counts):
        print(f"  {what:<50} {totals.counts[what]:>10}")
    died = [worker.exitcode for worker in workers if worker.exitcode not in (0, -15)]
    return 1 if totals.violations or died else 0


def _gather(workers: list[Any], parts: Queue[Part], totals: Totals, into: Path | None) -> None:
    told_at = time.monotonic()
    while any(worker.is_alive() for worker in workers) or not parts.empty():
        try:
            totals.add(parts.get(timeout=1.0))
        except queue.Empty:
            continue
        if into is not None:
            _write(into, totals)
        if time.monotonic() - told_at > _TOLD_EVERY_S:
            told_at = time.monotonic()
            counts = totals.counts
            print(
                f"{counts['seeds']} seeds, {counts['failovers']} failovers, {len(totals.violations)} violations",
                flush=True,
            )


def _write(into: Path, totals: Totals) -> None:
    whole = into.with_name(into.name + ".new")
    whole.write_text(json.dumps(totals.as_json(), indent=1) + "\n")
    whole.replace(into)


def _work(first: int, step: int, until: float, parts: Queue[Part]) -> None:
    counts: Counter[str] = Counter()
    violations: list[tuple[int, str]] = []
    seed, told_at, parent = first, time.monotonic(), os.getppid()
    while time.monotonic() < until and os.getppid() == parent:  # killed alone, it leaves nobody behind
        outcome = run(seed)
        counts.update(outcome.counts)
        counts["seeds"] += 1
        counts["virtual seconds"] += outcome.virtual_s
        if outcome.violation:
            violations.append((seed, outcome.violation[:300]))
            with KEPT.open("a") as file:
                file.write(f"{seed} {outcome.violation[:300]}\n")
            print(f"VIOLATION in seed {seed}: {outcome.violation[:300]}", flush=True)
        if time.monotonic() - told_at > _TOLD_EVERY_S / 2:
            told_at = time.monotonic()
            parts.put((dict(counts), violations))
            counts, violations = Counter(), []
        seed += step
    parts.put((dict(counts), violations))


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
