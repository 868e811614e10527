"""CPU load from all cores while nothing is broken: no suspicion may be confirmed, no epoch may change.

The load is at normal priority, one busy loop for each core. The run that claims no false alarm also shows,
with the same profile, that a real loss is detected in time; that is the caller's next step.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from deploy.bench.suspicions import Outcome, suspicions_between
from deploy.bench.verdict import all_gaps
from deploy.lab.fault import now_us
from deploy.lab.fleet import CLIENT_HOST
from deploy.lab.witnessed import Status, Witnessed

_LOOK_EVERY_S = 0.2
_TELL_EVERY_S = 30.0
_BUSY = "while True: pass"


@dataclass(slots=True)
class UnderLoad:
    seconds: float
    busy_loops: int
    profile: str
    epochs: tuple[int, int] = (0, 0)
    """Before and after."""
    suspicions: int = 0
    """That came to nothing: allowed, and worth knowing."""
    diagnoses: tuple[str, ...] = ()
    """What else than a healthy cluster was seen."""
    phases: tuple[str, ...] = ()
    longest_gap_ms: float = 0.0
    load_average: float = 0.0

    @property
    def false_alarm(self) -> str:
        """Empty when there was none."""
        before, after = self.epochs
        if before != after:
            return f"the epoch went from {before} to {after} while nothing was broken"
        if self.phases:
            return f"the cluster left STABLE while nothing was broken: {', '.join(self.phases)}"
        return ""


def run_under_load(cluster: Witnessed, seconds: float, say: Callable[[str], None]) -> UnderLoad:
    status = cluster.whole()
    found = UnderLoad(
        seconds, os.cpu_count() or 2, str(status["profile"]), (status["epoch"], status["epoch"])
    )
    began_wall_ms = time.time_ns() // 1_000_000
    diagnoses: set[str] = set()
    phases: set[str] = set()
    began_us = now_us()
    loops = [_busy_loop(cluster) for _ in range(found.busy_loops)]
    try:
        ends_at = time.monotonic() + seconds
        told_at = time.monotonic()
        while (now := time.monotonic()) < ends_at:
            newest = cluster.watch.newest
            if newest is not None:
                _note(newest, diagnoses, phases)
            if now - told_at > _TELL_EVERY_S:
                told_at = now
                say(f"under load: {ends_at - now:.0f} s to go, epoch {cluster.epoch}")
            time.sleep(_LOOK_EVERY_S)
        found.load_average = round(os.getloadavg()[0], 1)
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    time.sleep(1.0)  # what the last second led to shows now
    newest = cluster.watch.newest
    assert newest is not None
    _note(newest, diagnoses, phases)
    found.epochs = (found.epochs[0], newest["epoch"])
    came = suspicions_between(cluster, began_wall_ms, time.time_ns() // 1_000_000)
    found.suspicions = sum(one.outcome is not Outcome.FAILOVER for one in came)
    found.diagnoses, found.phases = tuple(sorted(diagnoses)), tuple(sorted(phases))
    gaps = [gap for gap in all_gaps(cluster.journal(), 1) if gap.from_us >= began_us]
    found.longest_gap_ms = max(((gap.length_us or 0) / 1000 for gap in gaps), default=0.0)
    return found


def _busy_loop(cluster: Witnessed) -> subprocess.Popen[bytes]:
    return cluster.lab.launch_on(CLIENT_HOST, (cluster.lab.programs.python, "-c", _BUSY))


def _note(status: Status, diagnoses: set[str], phases: set[str]) -> None:
    if status["diagnosis"] != "Healthy":
        diagnoses.add(str(status["diagnosis"]))
    if status["phase"] != "STABLE":
        phases.add(str(status["phase"]))
