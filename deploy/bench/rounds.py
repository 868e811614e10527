"""One fault after the other on one fleet, each from a whole cluster, and what became of each.

A run that failed is a run: it says why, and counts.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.bench.breakdown import moments_us, parts_ms
from deploy.bench.bring import Scene, bring
from deploy.bench.calm import Calm, calm
from deploy.bench.falling_behind import Behind, fall_behind, go_on
from deploy.bench.kinds import HOST_LOST, SWITCHOVER, Kind
from deploy.bench.verdict import outage_around
from deploy.lab.fault import Fault, now_us
from deploy.lab.lab import LabFailed
from deploy.lab.witnessed import Status, Witnessed

WHOLE_WITHIN_S = 120.0
# A member that can't be rewound is cloned.
WHOLE_WITHIN_S_A_GIB = 60.0
_LEADER_WITHIN_S = 60.0
_STABLE_WITHIN_S = 30.0
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
    """Under a fault that must not move the primary: the longest gap meanwhile."""
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
    next_primary: str = ""
    behind: str = ""
    """The standby whose replay was held back."""
    backlog_mib: float | None = None
    calm: Calm | None = None
    """Where nothing must be noticed."""


class Rounds:
    def __init__(
        self,
        cluster: Witnessed,
        say: Callable[[str], None],
        dice: random.Random,
        *,
        behind_mib: int = 0,
        whole_within_s: float = WHOLE_WITHIN_S,
    ) -> None:
        self._cluster = cluster
        self._say = say
        self._dice = dice
        self._behind_mib = behind_mib
        self._whole_within_s = whole_within_s
        self.runs: list[Run] = []

    def play(self, kinds: Sequence[Kind], rounds: int) -> None:
        """Every fault once a round, in any order, under another leader each round."""
        for number in range(1, rounds + 1):
            self.change_leader()
            for kind in self._dice.sample(kinds, len(kinds)):
                self.one(kind, number)

    def one(self, kind: Kind, number: int) -> Run:
        status = self._whole()
        run = Run(kind.name, number, kind.name, str(status["primary"]), str(status["leader"]))
        run.profile = str(status["profile"])
        self.runs.append(run)
        if kind.moves:
            self._moves(kind, run, status)
        else:
            self._stays(kind, run, status)
        run.load_average = round(_load_average(), 1)
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

    def _moves(self, kind: Kind, run: Run, status: Status) -> None:
        epoch = int(status["epoch"])
        try:
            behind = self._hold_back(run)
            os.sync()  # what was written before is not this one's
            time.sleep(_SETTLE_S + self._dice.uniform(0, _PHASES_S))
            self._bring_with(kind, run, behind)
            self._cluster.await_writes(run.fault_at_us + 50_000)
            stable = self._cluster.watch.until(
                lambda s: s["epoch"] > epoch and s["phase"] == "STABLE",
                _STABLE_WITHIN_S,
                f"STABLE after epoch {epoch}",
            )
            run.next_primary = str(stable["primary"])
        except (LabFailed, ProcessLookupError, TimeoutError) as failed:
            run.failed = str(failed)
        self._mend()
        self._await_whole(run, epoch + 1)
        self._measure_move(kind, run, epoch)

    def _stays(self, kind: Kind, run: Run, status: Status) -> None:
        """A control period, then as long under the fault; then nothing may have changed but who leads."""
        os.sync()
        time.sleep(_SETTLE_S)
        watched_us = int(kind.watched_s * 1_000_000)
        control_at_us = now_us()
        time.sleep(kind.watched_s + self._dice.uniform(0, _PHASES_S))
        try:
            self._bring(kind, run, None)
        except (LabFailed, ProcessLookupError, TimeoutError) as failed:
            run.failed = str(failed)
            self._mend()
            return
        ends_at_us = run.fault_at_us + watched_us
        time.sleep(max(ends_at_us - now_us(), 0) / 1_000_000)
        self._mend()
        after = self._await_whole(run, int(status["epoch"]))
        if after is not None:
            run.next_primary = str(after["primary"])
            changed = [key for key in ("epoch", "primary") if after[key] != status[key]]
            if changed:
                was = ", ".join(f"{key} {status[key]} became {after[key]}" for key in changed)
                run.failed = run.failed or f"the primary was not left alone: {was}"
        journal = self._cluster.journal()
        control_us = (control_at_us, control_at_us + watched_us)
        run.calm = calm(journal, control_us, (run.fault_at_us, ends_at_us), now_us())
        run.outage_ms = run.calm.longest_ms

    def _hold_back(self, run: Run) -> Behind | None:
        if not self._behind_mib:
            return None
        behind = fall_behind(self._cluster, run.primary, self._behind_mib, self._dice)
        run.behind, run.backlog_mib = behind.member, round(behind.backlog_mib, 1)
        return behind

    def _bring_with(self, kind: Kind, run: Run, behind: Behind | None) -> None:
        """Whoever was held back goes on with the fault; at a switchover just before, as that waits for its end."""
        if behind is not None and kind == SWITCHOVER:
            go_on(self._cluster, behind)
        self._bring(kind, run, None if behind is None else behind.member)
        if behind is not None:
            go_on(self._cluster, behind)

    def _bring(self, kind: Kind, run: Run, behind: str | None) -> None:
        run.fault_at_us = now_us()  # where it fails
        fault = bring(kind, Scene(self._cluster, run.primary, run.leader, self._dice, behind))
        run.fault_at_us = fault.at_us
        run.ends_sent = fault.ends_sent
        run.label = _label(kind, fault)

    def _mend(self) -> None:
        self._cluster.lab.faults.mend_all()
        for member in self._cluster.members:
            self._cluster.start_poller(member)

    def _whole(self) -> Status:
        return self._cluster.asked_whole(self._whole_within_s)

    def _await_whole(self, run: Run, epoch_at_least: int) -> Status | None:
        try:
            return self._cluster.asked_whole(self._whole_within_s, epoch_at_least=epoch_at_least)
        except LabFailed as failed:
            run.failed = run.failed or str(failed)
            return None

    def _measure_move(self, kind: Kind, run: Run, epoch: int) -> None:
        try:
            outage = outage_around(self._cluster.journal(), run.fault_at_us)
        except ValueError as error:
            run.failed = run.failed or str(error)
            return
        moments = self._moments(epoch)
        run.steps = [(name, (at_us - run.fault_at_us) / 1000) for name, at_us in moments]
        sealing = [ms for name, ms in run.steps if name == "sealing"]
        run.detected_after_ms = sealing[0] if sealing and kind != SWITCHOVER else None
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
        if run.calm is not None:
            found = f"longest gap {run.calm.longest_ms:.0f} ms, {run.calm.control_ms:.0f} ms before it"
            found += f", {run.calm.after_ms:.0f} ms after it"
            if run.calm.reconnect_count or run.calm.after_reconnect_count:
                found += f"; {run.calm.reconnect_count} reconnects, {run.calm.after_reconnect_count} after it"
        else:
            found = "no end of the outage" if run.outage_ms is None else f"{run.outage_ms:.0f} ms"
            found += f" ({', '.join(f'{part} {ms:.0f}' for part, ms in run.parts_ms.items())})"
        if run.behind:
            found += (
                f", {run.behind} was {run.backlog_mib} MiB behind, {run.next_primary or 'nobody'} took over"
            )
        failed = f"  FAILED: {run.failed}" if run.failed else ""
        self._say(f"{run.number}. {run.label} (primary {run.primary}): {found}{failed}")


def _label(kind: Kind, fault: Fault) -> str:
    return fault.label if kind == HOST_LOST else kind.name


def _load_average() -> float:
    with open("/proc/loadavg") as file:
        return float(file.read().split()[0])
