"""`python -m tests.simulator --soak`: fresh seeds for hours on all cores; failing ones are kept in a file.

A process takes a hundred seeds, and another one takes its place: nothing of a run is ever tidied up in it, which would
cost a tenth of the time. A failing seed does not end the soak. With `--json FILE` the totals are written
there once a minute, so that a soak that is cut off still counts (tests/simulator/evidence.py makes the page of them).
"""

from __future__ import annotations

import gc
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
from multiprocessing.context import ForkProcess
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from tests.simulator.swarm import run

KEPT = Path(os.environ.get("PRIMACY_SOAK_FILE", "simulator-failing-seeds.txt"))
_TOLD_EVERY_S = 60.0
_SEEDS_EACH = 100
_DIED_MAX = 10
"""Then the soak ends: something is wrong that is no violation."""
_ROOT = Path(__file__).resolve().parents[2]

Part = tuple[Mapping[str, int], list[tuple[int, str]], Mapping[int, str]]
"""Counts since the last one, (seed, what was violated), and the digest of the first seed of a process."""


@dataclass
class Totals:
    first: int
    processes: int
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    began_s: float = field(default_factory=time.monotonic)
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)
    """Of one seed in a hundred, for tests/simulator/sample.py."""

    def add(self, part: Part) -> None:
        counts, violations, digests = part
        self.counts.update(counts)
        self.violations += violations
        self.digests.update(digests)

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
            "digests": {str(seed): digest for seed, digest in sorted(self.digests.items())},
        }


def main(first: int, hours: float, jobs: int, into: Path | None = None) -> int:
    count = jobs or len(os.sched_getaffinity(0))
    print(f"soak: first seed {first}, {count} processes, {hours} h; failing seeds go to {KEPT}", flush=True)
    totals = Totals(first, count)
    crew = Crew(first, count, time.monotonic() + hours * 3600)
    try:
        _gather(crew, totals, into)
    finally:
        crew.end()
    for what in sorted(totals.counts):
        print(f"  {what:<50} {totals.counts[what]:>10}")
    if crew.died:
        print(f"processes that died: {crew.died}")
    return 1 if totals.violations or crew.died else 0


class Crew:
    """The processes that are at work; where one has ended and time is left, the next one begins."""

    def __init__(self, first: int, count: int, until: float) -> None:
        self._context = multiprocessing.get_context("fork")  # with everything imported and nothing running
        self.parts: Queue[Part] = self._context.Queue()
        self.died: list[int | None] = []
        self._next, self._until = first, until
        self._workers = [self._begun() for _ in range(count)]

    def _begun(self) -> ForkProcess:
        worker = self._context.Process(target=_work, args=(self._next, self._until, self.parts))
        self._next += _SEEDS_EACH
        worker.start()
        return worker

    def at_work(self) -> bool:
        """Looks after them; False once nobody is left."""
        for worker in [w for w in self._workers if not w.is_alive()]:
            self._workers.remove(worker)
            if worker.exitcode:
                self.died.append(worker.exitcode)
            if time.monotonic() < self._until and len(self.died) < _DIED_MAX:
                self._workers.append(self._begun())
        return bool(self._workers)

    def end(self) -> None:
        for worker in self._workers:
            worker.terminate()


def _gather(crew: Crew, totals: Totals, into: Path | None) -> None:
    told_at = time.monotonic()
    while crew.at_work() or not crew.parts.empty():
        try:
            totals.add(crew.parts.get(timeout=1.0))
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


def _work(first: int, until: float, parts: Queue[Part]) -> None:
    gc.disable()
    counts: Counter[str] = Counter()
    violations: list[tuple[int, str]] = []
    digests: dict[int, str] = {}
    told_at, parent = time.monotonic(), os.getppid()
    for seed in range(first, first + _SEEDS_EACH):
        if time.monotonic() > until or os.getppid() != parent:  # killed alone, it leaves nobody behind
            break
        outcome = run(seed)
        counts.update(outcome.counts)
        counts["seeds"] += 1
        if seed == first:
            digests[seed] = outcome.digest
        counts["virtual seconds"] += outcome.virtual_s
        if outcome.violation:
            violations.append((seed, outcome.violation[:300]))
            with KEPT.open("a") as file:
                file.write(f"{seed} {outcome.violation[:300]}\n")
            print(f"VIOLATION in seed {seed}: {outcome.violation[:300]}", flush=True)
        if time.monotonic() - told_at > _TOLD_EVERY_S / 2:
            told_at = time.monotonic()
            parts.put((dict(counts), violations, digests))
            counts, violations, digests = Counter(), [], {}
    parts.put((dict(counts), violations, digests))


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
