"""Faults with one call each, as measuring.md defines them. Times are CLOCK_MONOTONIC in microseconds."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.lab import processes
from deploy.lab.files import Files
from deploy.lab.fleet import Host
from deploy.lab.network import Network
from deploy.lab.supervisor import Supervisor

# A goodbye that is going to leave has left by then.
GOODBYES_WITHIN_S = 0.2
NO_NETWORK_CUT = "frozen, no network cut"


@dataclass(frozen=True, slots=True)
class Fault:
    """What was done and when. `label` is what a table must say of it."""

    label: str
    where: str
    at_us: int
    ends_sent: int | None = None
    """Segments with FIN or RST that the host sent from just before the fault on; None: nobody counted."""


def now_us() -> int:
    return time.monotonic_ns() // 1000


class Faults:
    def __init__(self, files: Files, network: Network, supervisor: Supervisor) -> None:
        self._files = files
        self._network = network
        self._supervisor = supervisor
        self._lost: set[str] = set()

    def kill_postmaster(self, cluster: str, member: str) -> Fault:
        """SIGKILL to that process id only."""
        host = self._files.plan.member_host(cluster, member)
        pid = self._postmaster(host)
        at_us = now_us()
        os.kill(pid, signal.SIGKILL)
        return Fault("postmaster killed", host.name, at_us)

    def freeze_postgres(self, cluster: str, member: str) -> Fault:
        """The postmaster and all of its children stand still; the agent lives."""
        host = self._files.plan.member_host(cluster, member)
        at_us = now_us()
        processes.stop_until_all(lambda: _postgres_pids(self._files.data_directory(host)))
        return Fault("PostgreSQL frozen", host.name, at_us)

    def thaw_postgres(self, cluster: str, member: str) -> None:
        host = self._files.plan.member_host(cluster, member)
        processes.send(_postgres_pids(self._files.data_directory(host)), signal.SIGCONT)

    def lose_host(self, name: str) -> Fault:
        """The link goes down first, then at once everything on the host is killed: silence, not a reset."""
        host = self._files.plan.host(name)
        for daemon in self._supervisor.names(host):
            self._supervisor.abandon(daemon)
        self._lost.add(name)
        if not self._network.cuts_links:
            at_us = now_us()
            self._freeze(host)
            return Fault(NO_NETWORK_CUT, name, at_us)
        ends_before = self._network.ends_seen(host)
        at_us = now_us()
        self._network.cut(host)
        self._kill_everything(host)
        time.sleep(GOODBYES_WITHIN_S)
        ends_after = self._network.ends_seen(host)
        self._network.forget(host)
        counted = None if ends_before is None or ends_after is None else ends_after - ends_before
        return Fault("host lost", name, at_us, counted)

    def restart_host(self, name: str) -> None:
        """Power on: what was frozen ends, the network is new, the init system starts the daemons."""
        host = self._files.plan.host(name)
        daemons = [self._supervisor.daemon(daemon) for daemon in self._supervisor.names(host)]
        if name not in self._lost:
            self.lose_host(name)
        if self._network.cuts_links:
            self._network.renew(host)
        else:
            self._kill_everything(host)
        self._lost.discard(name)
        for daemon in daemons:
            self._supervisor.start(daemon)

    def isolate(self, name: str) -> Fault:
        """The link is down, the processes live."""
        if not self._network.cuts_links:
            raise NotImplementedError("isolating a host needs network namespaces (root)")
        at_us = now_us()
        self._network.cut(self._files.plan.host(name))
        return Fault("host isolated", name, at_us)

    def heal(self, name: str) -> None:
        self._network.heal(self._files.plan.host(name))

    def freeze_host(self, name: str) -> Fault:
        at_us = now_us()
        self._freeze(self._files.plan.host(name))
        return Fault("host frozen", name, at_us)

    def thaw_host(self, name: str) -> None:
        processes.send(self.pids_of(name), signal.SIGCONT)

    def signal_daemon(self, daemon: str, what: signal.Signals) -> Fault:
        """SIGKILL, SIGSTOP, SIGCONT, SIGTERM, ... to one daemon, such as `control1/orchestrator`."""
        pid = self._supervisor.pid(daemon)
        if pid is None:
            raise ProcessLookupError(f"{daemon} does not run")
        at_us = now_us()
        os.kill(pid, what)
        return Fault(f"{daemon} got {what.name}", self._supervisor.daemon(daemon).host.name, at_us)

    def pids_of(self, name: str) -> list[int]:
        return processes.pids_with(self._network.marks(self._files.plan.host(name)))

    def _freeze(self, host: Host) -> None:
        marks = self._network.marks(host)
        processes.stop_until_all(lambda: processes.pids_with(marks))

    def _kill_everything(self, host: Host) -> None:
        marks = self._network.marks(host)
        processes.kill_until_none(lambda: processes.pids_with(marks))

    def _postmaster(self, host: Host) -> int:
        pid = processes.postmaster_pid(self._files.data_directory(host))
        if pid is None:
            raise ProcessLookupError(f"no postmaster runs on {host.name}")
        return pid


def _postgres_pids(data_directory: Path) -> list[int]:
    """Every process of that instance works in its data directory."""
    return processes.pids_with(processes.Marks(None, (), data_directory.resolve()))
