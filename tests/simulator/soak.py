"""`python -m tests.simulator --soak`: fresh seeds for hours on all cores; failing ones are kept in a file.

A process takes a hundred seeds, and another one takes its place: nothing of a run is ever tidied up in it, which would
cost a tenth of the time. A failing seed does not end the soak; nor does one that never ends: its process is ended, the
seed is named as a violation, and the rest of its hundred goes on. With `--json FILE` the totals are written
there every ten seconds, so that a soak that is cut off still counts (tests/simulator/evidence.py makes the page of them).
"""

from __future__ import annotations

import ctypes
import gc
import json
import multiprocessing
import os
import queue
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.context import ForkProcess
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any

from tests.simulator.swarm import Outcome, run

KEPT = Path(os.environ.get("PRIMACY_SOAK_FILE", "simulator-failing-seeds.txt"))
_TOLD_EVERY_S = 60.0
_WRITTEN_EVERY_S = 10.0
_SEEDS_EACH = 100
SEED_MAX_S = 120.0
"""Of a core's time; the longest seeds take some ten seconds from the sources. One that takes more never ends."""
_DIED_MAX = 10
"""Then the soak ends: something is wrong that is no violation."""
_ROOT = Path(__file__).resolve().parents[2]

Part = tuple[Mapping[str, int], list[tuple[int, str]], Mapping[int, str]]
"""Of a seed: counts, (seed, what was violated), and the digest where it is the first one of a process."""


@dataclass
class Totals:
    first: int
    processes: int
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    began_s: float = field(default_factory=time.monotonic)
    commit: str = field(default_factory=lambda: _commit())
    """Of the beginning: what is committed meanwhile is not what runs."""
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
            "commit": self.commit,
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
    return 1 if totals.violations else 0


@dataclass
class Worker:
    process: ForkProcess
    at: ctypes.c_longlong
    """The seed that it plays."""
    end: int
    """The first seed that is another one's."""


class Crew:
    """The processes that are at work; where one has ended and time is left, the next one begins.

    `at` of a worker needs no lock: one process writes it, and it is read once that one is dead.
    """

    def __init__(
        self,
        first: int,
        count: int,
        until: float,
        *,
        play: Callable[[int], Outcome] = run,
        seed_max_s: float = SEED_MAX_S,
    ) -> None:
        self._context = multiprocessing.get_context("fork")  # with everything imported and nothing running
        self.parts: Queue[Part] = self._context.Queue()
        self._died: list[tuple[int, str]] = []
        self._deaths = 0
        self._next, self._until = first, until
        self._play, self._seed_max_s = play, seed_max_s
        self._workers = [self._next_hundred() for _ in range(count)]

    def _next_hundred(self) -> Worker:
        first = self._next
        self._next += _SEEDS_EACH
        return self._begun(first, self._next)

    def _begun(self, first: int, end: int) -> Worker:
        at = RawValue(ctypes.c_longlong, first)
        process = self._context.Process(
            target=_work, args=(first, end, self._until, self.parts, at, self._play, self._seed_max_s)
        )
        process.start()
        return Worker(process, at, end)

    def at_work(self) -> bool:
        """Looks after them; False once nobody is left."""
        for worker in [w for w in self._workers if not w.process.is_alive()]:
            self._workers.remove(worker)
            if worker.process.exitcode:
                self._deaths += 1
                self._died.append(_kept(worker.at.value, self._why(worker.process.exitcode)))
            if time.monotonic() > self._until or self._deaths >= _DIED_MAX:
                continue
            if worker.process.exitcode and worker.at.value + 1 < worker.end:
                self._workers.append(self._begun(worker.at.value + 1, worker.end))
            else:
                self._workers.append(self._next_hundred())
        return bool(self._workers)

    def without_their_process(self) -> Part:
        """The seeds since the last time at which a process ended: those that never end, and any that killed it."""
        died, self._died = self._died, []
        return {"seeds": len(died)}, died, {}

    def _why(self, exitcode: int | None) -> str:
        if exitcode == -signal.SIGVTALRM:
            return f"does not end within {self._seed_max_s:g} s of a core's time"
        return f"its process ended with {exitcode}"

    def end(self) -> None:
        for worker in self._workers:
            worker.process.terminate()


def _gather(crew: Crew, totals: Totals, into: Path | None) -> None:
    told_at = written_at = time.monotonic()
    while crew.at_work() or not crew.parts.empty():
        totals.add(crew.without_their_process())
        try:
            totals.add(crew.parts.get(timeout=1.0))
        except queue.Empty:
            continue
        now = time.monotonic()
        if into is not None and now - written_at > _WRITTEN_EVERY_S:
            written_at = now
            _write(into, totals)
        if now - told_at > _TOLD_EVERY_S:
            told_at = now
            counts = totals.counts
            print(
                f"{counts['seeds']} seeds, {counts['failovers']} failovers, {len(totals.violations)} violations",
                flush=True,
            )
    totals.add(crew.without_their_process())
    if into is not None:
        _write(into, totals)


def _write(into: Path, totals: Totals) -> None:
    whole = into.with_name(into.name + ".new")
    whole.write_text(json.dumps(totals.as_json(), indent=1) + "\n")
    whole.replace(into)


def _work(
    first: int,
    end: int,
    until: float,
    parts: Queue[Part],
    at: ctypes.c_longlong,
    play: Callable[[int], Outcome],
    seed_max_s: float,
) -> None:
    gc.disable()
    parent = os.getppid()
    for seed in range(first, end):
        if time.monotonic() > until or os.getppid() != parent:  # killed alone, it leaves nobody behind
            break
        at.value = seed
        signal.setitimer(signal.ITIMER_VIRTUAL, seed_max_s)  # nobody handles it: it ends the process
        outcome = play(seed)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        counts = {**outcome.counts, "seeds": 1, "virtual seconds": outcome.virtual_s}
        violations = [_kept(seed, outcome.violation)] if outcome.violation else []
        parts.put((counts, violations, {seed: outcome.digest} if seed == first else {}))


def _kept(seed: int, said: str) -> tuple[int, str]:
    with KEPT.open("a") as file:
        file.write(f"{seed} {said[:300]}\n")
    print(f"VIOLATION in seed {seed}: {said[:300]}", flush=True)
    return seed, said[:300]


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
