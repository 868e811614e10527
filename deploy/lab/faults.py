"""Faults with one call each, as measuring.md defines them: hosts and processes. `links` has the network's,
`disks` the disks'. `mend_all` takes back whatever was done.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

from deploy.lab import processes
from deploy.lab.disks import Disks
from deploy.lab.fault import Fault, now_us
from deploy.lab.files import APP_USER, Files
from deploy.lab.fleet import Host
from deploy.lab.links import Links
from deploy.lab.network import Network
from deploy.lab.roles import Role, pids_in_role
from deploy.lab.supervisor import Supervisor

# A goodbye that is going to leave has left by then.
GOODBYES_WITHIN_S = 0.2
NO_NETWORK_CUT = "frozen, no network cut"


class Faults:
    def __init__(self, files: Files, network: Network, supervisor: Supervisor, disks: Disks) -> None:
        self._files = files
        self._network = network
        self._supervisor = supervisor
        self._lost: set[str] = set()
        self._frozen: set[str] = set()
        self._stopped: set[str] = set()
        self.links = Links(files.plan, network)
        self.disks = disks

    # PostgreSQL

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
        self._frozen.add(host.name)
        return Fault("PostgreSQL frozen", host.name, at_us)

    def thaw_postgres(self, cluster: str, member: str) -> None:
        host = self._files.plan.member_host(cluster, member)
        processes.send(_postgres_pids(self._files.data_directory(host)), signal.SIGCONT)
        self._frozen.discard(host.name)

    def destroy_data_directory(self, cluster: str, member: str) -> Fault:
        """Its files are gone, under a running PostgreSQL; the folder itself stays."""
        host = self._files.plan.member_host(cluster, member)
        at_us = now_us()
        for path in self._files.data_directory(host).iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return Fault("data directory destroyed", host.name, at_us)

    # One process

    def pids_in(self, name: str, role: Role) -> list[int]:
        return pids_in_role(self.pids_of(name), role, APP_USER)

    def signal_process(self, name: str, role: Role, what: signal.Signals, *, most: int = 1) -> Fault:
        """To the oldest processes of that kind on the host, so many at most. The init system may start it again."""
        pids = self.pids_in(name, role)[:most]
        if not pids:
            raise ProcessLookupError(f"no {role.value} runs on {name}")
        if what is signal.SIGSTOP:
            self._frozen.add(name)
        elif what is signal.SIGCONT:
            self._frozen.discard(name)
        at_us = now_us()
        processes.send(pids, what)
        return Fault(f"{role.value} got {what.name}", name, at_us)

    def kill_together(self, name: str, *roles: Role) -> Fault:
        """The oldest process of each kind, at once: found one after the other, the first to die would make the second
        one something else (an agent whose guard is gone becomes the guard)."""
        found = [self.pids_in(name, role)[:1] for role in roles]
        if not all(found):
            raise ProcessLookupError(f"not all of {', '.join(role.value for role in roles)} run on {name}")
        at_us = now_us()
        processes.send((pid for pids in found for pid in pids), signal.SIGKILL)
        return Fault(f"{' and '.join(role.value for role in roles)} got SIGKILL", name, at_us)

    def signal_daemon(self, daemon: str, what: signal.Signals) -> Fault:
        """SIGKILL, SIGSTOP, SIGCONT, SIGTERM, ... to one daemon, such as `control1/orchestrator`."""
        pid = self._supervisor.pid(daemon)
        if pid is None:
            raise ProcessLookupError(f"{daemon} does not run")
        host = self._supervisor.daemon(daemon).host.name
        if what is signal.SIGSTOP:
            self._frozen.add(host)
        elif what is signal.SIGCONT:
            self._frozen.discard(host)
        at_us = now_us()
        os.kill(pid, what)
        return Fault(f"{daemon} got {what.name}", host, at_us)

    def stop_daemon(self, daemon: str, how: signal.Signals = signal.SIGKILL) -> Fault:
        """It stays down until `start_daemon`."""
        self._stopped.add(daemon)
        at_us = now_us()
        self._supervisor.stop(daemon, how=how)
        return Fault(f"{daemon} down", self._supervisor.daemon(daemon).host.name, at_us)

    def start_daemon(self, daemon: str, *, clock_shift_s: int = 0) -> None:
        """`clock_shift_s`: its CLOCK_MONOTONIC and CLOCK_BOOTTIME are ahead by so much (root; see supervisor)."""
        self._supervisor.start(self._supervisor.daemon(daemon).with_clock(clock_shift_s))
        self._stopped.discard(daemon)

    # A whole host

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
        at_us = now_us()
        self._network.cut(host)
        # Only from here on: a control node's connections end all the time, and one that does just before is no goodbye.
        ends_before = self._network.ends_seen(host)
        # What waits for a stalled disk ends only once that goes on, and then without another step of its own.
        processes.send(self.pids_of(name), signal.SIGKILL)
        self.disks.resume(name)
        self._kill_everything(host)
        time.sleep(GOODBYES_WITHIN_S)
        ends_after = self._network.ends_seen(host)
        self._network.forget(host)
        self.links.forget(name)
        counted = None if ends_before is None or ends_after is None else ends_after - ends_before
        return Fault("host lost", name, at_us, counted)

    def restart_host(self, name: str, *, clock_shift_s: int = 0) -> None:
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
        self._frozen.discard(name)
        for daemon in daemons:
            self._supervisor.start(daemon.with_clock(clock_shift_s))
            self._stopped.discard(daemon.name)

    def freeze_host(self, name: str) -> Fault:
        at_us = now_us()
        self._frozen.add(name)
        self._freeze(self._files.plan.host(name))
        return Fault("host frozen", name, at_us)

    def thaw_host(self, name: str) -> None:
        processes.send(self.pids_of(name), signal.SIGCONT)
        self._frozen.discard(name)

    def mend_all(self) -> list[str]:
        """Everything is taken back that was done and not mended yet. Returns the hosts that were started anew."""
        self.links.heal_all()
        self.disks.mend_all()
        for name in sorted(self._frozen - self._lost):
            self.thaw_host(name)
        restarted = sorted(self._lost)
        for name in restarted:
            self.restart_host(name)
        for daemon in sorted(self._stopped):
            self.start_daemon(daemon)
        return restarted

    def out_of_action(self) -> frozenset[str]:
        """Hosts that can't do their part now: lost, frozen in part or whole, cut off from somebody, or with a disk
        that stands still."""
        return frozenset(self._lost | self._frozen | self.links.cut_hosts() | self.disks.stalled)

    @property
    def stopped_daemons(self) -> frozenset[str]:
        return frozenset(self._stopped)

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
