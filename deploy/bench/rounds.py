"""One fault after the other on one fleet, each from a whole cluster, and what became of each.

A run that failed is a run: it says why, and counts.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from deploy.bench.breakdown import moments_us, parts_ms
from deploy.bench.verdict import outage_around
from deploy.lab.fault import Fault, now_us
from deploy.lab.lab import LabFailed
from deploy.lab.witnessed import Status, Witnessed

POSTMASTER_KILLED, HOST_LOST, SWITCHOVER = "postmaster killed", "host lost", "switchover"
KINDS = (POSTMASTER_KILLED, HOST_LOST, SWITCHOVER)
POSTGRES_FROZEN = "PostgreSQL frozen"
"""Postmaster and children stand still under a live agent; it is no part of `play`."""
_WHOLE_WITHIN_S = 120.0
_LEADER_WITHIN_S = 60.0
# Longer than any beat, so that the fault falls at any phase of it.
_PHASES_S = 1.2
_SETTLE_S = 1.0
# A control node that is just starting takes a core from everybody.
_RESTARTED_S = 5.0


@dataclass(slots=True)
class Run:
    kind: str
    number: int
    label: str
    """As measuring.md wants it quoted: `frozen, no network cut` where no link could be cut."""
    primary: str
    leader: str
    outage_ms: float | None = None
    parts_ms: dict[str, float] = field(default_factory=dict)
    steps: list[tuple[str, float]] = field(default_factory=list)
    """The incident's steps, in ms since the fault."""
    ends_sent: int | None = None
    """FIN and RST of a lost host."""
    detected_after_ms: float | None = None
    load_average: float = 0.0
    profile: str = ""
    fault_at_us: int = 0
    failed: str = ""


class Rounds:
    def __init__(self, cluster: Witnessed, say: Callable[[str], None], dice: random.Random) -> None:
        self._cluster = cluster
        self._say = say
        self._dice = dice
        self.runs: list[Run] = []

    def play(self, rounds: int) -> None:
        """Every fault once a round, in any order, under another leader each round."""
        for number in range(1, rounds + 1):
            self.change_leader()
            for kind in self._dice.sample(KINDS, len(KINDS)):
                self.one(kind, number)

    def one(self, kind: str, number: int) -> Run:
        cluster = self._cluster
        status = self._whole()
        run = Run(kind, number, kind, str(status["primary"]), str(status["leader"]))
        run.profile = str(status["profile"])
        self.runs.append(run)
        time.sleep(_SETTLE_S + self._dice.uniform(0, _PHASES_S))
        epoch = cluster.epoch
        try:
            self._happen(run)
            cluster.await_writes(run.fault_at_us + 50_000)
            cluster.watch.until(
                lambda s: s["epoch"] > epoch and s["phase"] == "STABLE", 30.0, f"STABLE after epoch {epoch}"
            )
        except LabFailed as failed:
            run.failed = str(failed)
        self._mend(run)
        try:
            cluster.whole(_WHOLE_WITHIN_S, epoch_at_least=epoch + 1)
        except LabFailed as failed:
            run.failed = run.failed or str(failed)
        self._measure(run, epoch)
        self._tell(run)
        return run

    def change_leader(self) -> None:
        """Its orchestrator is ended; the supervisor starts it again, as one that follows."""
        old = self._whole()["leader"]
        for host in self._cluster.lab.plan.control_hosts:
            if old in (host.name, host.control):
                self._cluster.lab.faults.signal_daemon(f"{host.name}/orchestrator", signal.SIGTERM)
        status = self._cluster.watch.until(
            lambda s: s["leader"] not in ("", old) and bool(s["whole"]),
            _LEADER_WITHIN_S,
            f"led by another than {old}",
        )
        self._say(f"{status['leader']} leads now, after {old}")
        time.sleep(_RESTARTED_S)

    def _whole(self) -> Status:
        return self._cluster.whole(_WHOLE_WITHIN_S)

    def _happen(self, run: Run) -> None:
        cluster = self._cluster
        faults = cluster.lab.faults
        if run.kind == SWITCHOVER:
            # Half of them to a named member, so that everybody is the primary now and then.
            others = [member for member in cluster.members if member != run.primary]
            to = ("--to", self._dice.choice(others)) if self._dice.random() < 0.5 else ()
            run.fault_at_us = now_us()
            done = cluster.lab.primacy("switchover", cluster.cluster, *to)
            if done.returncode != 0:
                raise LabFailed(f"primacy switchover: {(done.stdout + done.stderr).strip()}")
            return
        run.fault_at_us = now_us()
        if run.kind == HOST_LOST:
            fault = faults.lose_host(cluster.host_of(run.primary))
        elif run.kind == POSTGRES_FROZEN:
            fault = faults.freeze_postgres(cluster.cluster, run.primary)
        else:
            fault = faults.kill_postmaster(cluster.cluster, run.primary)
        run.fault_at_us = fault.at_us
        run.ends_sent = fault.ends_sent
        run.label = _label(run.kind, fault)

    def _mend(self, run: Run) -> None:
        if run.kind == HOST_LOST:
            self._cluster.lab.faults.restart_host(self._cluster.host_of(run.primary))
            self._cluster.start_poller(run.primary)
        if run.kind == POSTGRES_FROZEN:
            self._cluster.lab.faults.thaw_postgres(self._cluster.cluster, run.primary)

    def _measure(self, run: Run, epoch: int) -> None:
        run.load_average = round(_load_average(), 1)
        try:
            outage = outage_around(self._cluster.journal(), run.fault_at_us)
        except ValueError as error:
            run.failed = run.failed or str(error)
            return
        moments = self._moments(epoch)
        run.steps = [(name, (at_us - run.fault_at_us) / 1000) for name, at_us in moments]
        sealing = [ms for name, ms in run.steps if name == "sealing"]
        run.detected_after_ms = sealing[0] if sealing and run.kind != SWITCHOVER else None
        if outage.to_us is None:
            run.failed = run.failed or "after the fault nothing was acknowledged any more"
            return
        run.outage_ms = (outage.to_us - outage.from_us) / 1000
        run.parts_ms = parts_ms(moments, outage.from_us, outage.to_us)

    def _moments(self, epoch: int) -> list[tuple[str, int]]:
        done = self._cluster.lab.primacy("history", self._cluster.cluster, "--limit", "10", "--json")
        if done.returncode != 0:
            return []
        incidents: list[dict[str, Any]] = json.loads(done.stdout)
        wall_ahead_us = time.time_ns() // 1000 - now_us()
        return moments_us([i for i in incidents if i["epoch"] > epoch], wall_ahead_us)

    def _tell(self, run: Run) -> None:
        outage = "no end of the outage" if run.outage_ms is None else f"{run.outage_ms:.0f} ms"
        parts = ", ".join(f"{part} {ms:.0f}" for part, ms in run.parts_ms.items())
        failed = f"  FAILED: {run.failed}" if run.failed else ""
        self._say(f"{run.number}. {run.label} (primary {run.primary}): {outage} ({parts}){failed}")


def _label(kind: str, fault: Fault) -> str:
    return fault.label if kind == HOST_LOST else kind


def _load_average() -> float:
    with open("/proc/loadavg") as file:
        return float(file.read().split()[0])
