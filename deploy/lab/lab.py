"""A whole fleet on this machine, from a description, and gone again whatever happens.

    with Lab(Fleet(), Programs.discover()) as lab:
        lab.start()
        lab.faults.kill_postmaster("shop", "a")

What lives here: the order in which things start and end. The parts are next door.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from deploy.lab import bind
from deploy.lab.disks import Disks
from deploy.lab.etcd import etcd_command, etcd_health_command
from deploy.lab.faults import Faults
from deploy.lab.files import Files, Tsig
from deploy.lab.fleet import CLIENT_HOST, NAME_SERVER_HOST, Fleet, Host, NameServer, Plan, Wiring, plan_of
from deploy.lab.loopback import LoopbackNetwork, claim_net
from deploy.lab.mounts import thaw_below, unmount_below
from deploy.lab.namespaces import NamespaceNetwork, can_have_namespaces
from deploy.lab.network import Network
from deploy.lab.programs import Programs, User
from deploy.lab.run_folder import KEEP_MARK, RunId, make_run_folder, remove_folder
from deploy.lab.supervisor import Daemon, Supervisor
from deploy.lab.sweep import dismiss_janitor, end_processes, start_janitor, sweep_dead_runs

ETCD_READY_WITHIN_S = 20.0
NAME_SERVER_READY_WITHIN_S = 10.0
COMMAND_WITHIN_S = 60.0
APPLIED_WITHIN_S = 30.0


class LabFailed(Exception):
    """A part did not come up; the text holds the end of its log."""


class Lab:
    """Made in `__enter__`, started by `start` (or step by step), removed in `__exit__`."""

    plan: Plan
    files: Files
    network: Network
    supervisor: Supervisor
    faults: Faults
    folder: Path
    warnings: list[str]

    def __init__(
        self, fleet: Fleet, programs: Programs, *, wiring: Wiring | None = None, keep: bool = False
    ) -> None:
        self._wiring = wiring
        self._fleet = fleet
        self._keep = keep
        self.programs = programs
        self.run = RunId.of_this_process()
        self.warnings = []
        self._claim: socket.socket | None = None
        self._janitor: subprocess.Popen[bytes] | None = None
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        sweep_dead_runs()
        self._janitor = start_janitor(self.run)
        self._catch_signals()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        self.start_etcd()
        self.start_name_server()
        self.start_control_nodes()
        self.start_members()

    def start_etcd(self) -> None:
        for host in self.plan.etcd_hosts:
            self.start_daemon(host, "etcd", etcd_command(self.files, host))
        for host in self.plan.etcd_hosts:
            asking = etcd_health_command(self.files, host)
            self._wait(
                lambda host=host, asking=asking: self.run_on(host.name, asking).returncode == 0,  # type: ignore[misc]
                ETCD_READY_WITHIN_S,
                f"{host.name}/etcd",
            )

    def start_name_server(self) -> None:
        if self._fleet.name_server is not NameServer.BIND:
            return
        named = self.programs.named
        assert named is not None
        host = self.plan.host(NAME_SERVER_HOST)
        daemon = f"{host.name}/named"
        files = replace(self._bind_files(), log=self.supervisor.log_file(daemon))
        self.start_daemon(host, "named", tuple(bind.command(named, files)))
        try:
            self._wait(lambda: bind.is_ready(files), NAME_SERVER_READY_WITHIN_S, daemon)
        except LabFailed as error:
            raise LabFailed(bind.explain(files)) from error

    def start_control_nodes(self) -> None:
        for host in self.plan.control_hosts:
            self.start_control_node(host)

    def start_control_node(
        self, host: Host, *, environment: Mapping[str, str] | None = None, restarts: bool = True
    ) -> str:
        """`environment`: what else it finds there, such as a failpoint."""
        config = str(self.files.config_file(host, "orchestrator"))
        command = (*self.programs.orchestrator, config)
        return self.start_daemon(host, "orchestrator", command, environment=environment, restarts=restarts)

    def start_members(self, cluster: str | None = None) -> None:
        """Those that don't run yet."""
        for host in self.plan.member_hosts:
            if cluster is None or host.cluster == cluster:
                self.start_member(host)

    def start_member(self, host: Host) -> None:
        config = str(self.files.config_file(host, "agent"))
        self.start_daemon(host, "agent", (*self.programs.agent, config))

    def apply_clusters(self) -> None:
        """`primacy cluster apply FILE` for each cluster, again and again until a control node leads."""
        for cluster in self._fleet.clusters:
            file = str(self.files.cluster_file(cluster.name))
            ends_at_s = time.monotonic() + APPLIED_WITHIN_S
            while (done := self.primacy("cluster", "apply", file)).returncode != 0:
                if time.monotonic() > ends_at_s:
                    raise LabFailed(f"primacy cluster apply {file}: {done.stdout}{done.stderr}")
                time.sleep(0.2)

    def start_daemon(
        self,
        host: Host,
        name: str,
        command: tuple[str, ...],
        *,
        environment: Mapping[str, str] | None = None,
        restarts: bool = True,
    ) -> str:
        """Starts it under supervision as the host's user. Returns its name, host/name."""
        daemon = Daemon(
            f"{host.name}/{name}",
            host,
            command,
            self.files.user_of(host),
            self.files.host_folder(host),
            self._python_environment() | dict(environment or {}),
            restarts,
        )
        self.supervisor.start(daemon)
        return daemon.name

    def run_on(
        self, host: str, command: Iterable[str], *, within_s: float = COMMAND_WITHIN_S
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on a host, as the lab's own user."""
        process = self.launch_on(host, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(list(command), process.returncode, out.decode(), err.decode())

    def launch_on(
        self, host: str, command: Iterable[str], *, user: User | None = None, **streams: int
    ) -> subprocess.Popen[bytes]:
        """Starts a command on a host, unwatched: it ends with the lab, or earlier by the caller."""
        found = self.plan.host(host)
        daemon = Daemon(
            f"{host}/command",
            found,
            tuple(command),
            user or User.ourselves(),
            self.folder,
            self._python_environment() | self.operator_environment(),
        )
        return self.supervisor.launch(daemon, **streams)

    def primacy(
        self, *arguments: str, within_s: float = COMMAND_WITHIN_S
    ) -> subprocess.CompletedProcess[str]:
        """Our command line on the client host, with the operator's certificate."""
        return self.run_on(CLIENT_HOST, (*self.programs.cli, *arguments), within_s=within_s)

    def operator_environment(self) -> dict[str, str]:
        people = self.files.people
        endpoints = (f"{host.address}:{self.plan.ports.grpc}" for host in self.plan.control_hosts)
        return {
            "PRIMACY_CONTROL": ",".join(endpoints),
            "PRIMACY_TLS_CERT": str(people / "operator.crt"),
            "PRIMACY_TLS_KEY": str(people / "operator.key"),
            "PRIMACY_TLS_CA": str(people / "ca.crt"),
        }

    def by_hand(self, command: Iterable[str], host: str = CLIENT_HOST) -> str:
        """The same command as a line for a second terminal."""
        me = User.ourselves()
        entering = self.network.entering(self.plan.host(host), uid=me.uid, gid=me.gid)
        settings = [
            f"{key}={value}"
            for key, value in sorted((self.operator_environment() | self._python_environment()).items())
        ]
        return shlex.join([*entering, "env", *settings, *command])

    def log_tail(self, daemon: str, lines: int = 15) -> str:
        path = self.supervisor.log_file(daemon)
        if not path.exists():
            return "(no log)"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """Everything ends. Signals wait meanwhile; if we are killed here the janitor goes on."""
        for caught in self._handlers:
            signal.signal(caught, signal.SIG_IGN)
        try:
            if hasattr(self, "supervisor"):
                self.supervisor.abandon_all()
            if hasattr(self, "folder"):
                thaw_below(self.folder)
                end_processes(self.run, [self.folder])
            if hasattr(self, "supervisor"):
                self.supervisor.wait_all(5.0)
            if hasattr(self, "network"):
                self.network.remove()
            if hasattr(self, "folder"):
                unmount_below(self.folder)
                if self._keep:
                    (self.folder / KEEP_MARK).touch()
                else:
                    remove_folder(self.folder)
            if self._claim is not None:
                self._claim.close()
        finally:
            if self._janitor is not None:
                dismiss_janitor(self._janitor)
                self._janitor = None
            self._release_signals()

    def _build(self) -> None:
        refused = None if self._wiring is Wiring.LOOPBACK else can_have_namespaces()
        if refused and self._wiring is Wiring.NAMESPACES:
            raise LabFailed(f"network namespaces: {refused}")
        wiring = Wiring.LOOPBACK if refused or self._wiring is Wiring.LOOPBACK else Wiring.NAMESPACES
        if refused:
            self.warnings.append(
                f"no network namespaces ({refused}): a lost host is frozen, its network is not cut"
            )
        self._settle_on_parts()
        self.folder = make_run_folder(self.run)
        if wiring is Wiring.NAMESPACES:
            self.plan = plan_of(self._fleet, wiring)
            self.network = NamespaceNetwork(self.plan, self.run)
        else:
            net, self._claim = claim_net()
            self.plan = plan_of(self._fleet, wiring, loopback_net=net)
            self.network = LoopbackNetwork(self.plan, self.run, self.folder)
        self.network.build()
        self.files = Files(self.folder, self.plan, self.programs)
        self.supervisor = Supervisor(self.run, self.network, self.files.logs)
        disks = Disks(self.files, self._fleet.disk_mib, in_memory=self._fleet.disks_in_memory)
        self.faults = Faults(self.files, self.network, self.supervisor, disks)
        self.files.write_all(tsig=self._tsig(), give_disk=disks.give)

    def _settle_on_parts(self) -> None:
        """What the fleet asks for and this machine lacks is replaced, and said."""
        warning = self.programs.etcd_warning
        if warning and self._fleet.etcd_count > 1:
            self.warnings.append(warning)
            self._fleet = replace(self._fleet, etcd_count=1)
        if self._fleet.name_server is NameServer.BIND and self.programs.named is None:
            self.warnings.append("no BIND (named) found: the control nodes' own answerer is the name server")
            self._fleet = replace(self._fleet, name_server=NameServer.ANSWERER)
        if self._fleet.disk_mib is not None and os.geteuid() != 0:
            self.warnings.append("disks of their own for the members need root: they have plain folders")
            self._fleet = replace(self._fleet, disk_mib=None)

    def _bind_files(self) -> bind.BindFiles:
        """Written once; later calls find the same key again."""
        host = self.plan.host(NAME_SERVER_HOST)
        folder = self.folder / "bind"
        known = folder / "primacy.secret"
        user = self.programs.control_user
        return bind.write(
            folder,
            address=host.address,
            port=self.plan.ports.dns,
            zone=self._fleet.zone,
            owner=(user.uid, user.gid) if user != User.ourselves() else None,
            secret=known.read_text().strip() if known.exists() else None,
        )

    def _tsig(self) -> Tsig | None:
        if self._fleet.name_server is not NameServer.BIND:
            return None
        files = self._bind_files()
        return Tsig(f"{files.key_name.rstrip('.')}.", "hmac-sha256", files.secret.read_text().strip())

    def _python_environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.programs.code)}

    def _wait(self, ready: Callable[[], bool], within_s: float, daemon: str) -> None:
        ends_at_s = time.monotonic() + within_s
        while not ready():
            if time.monotonic() > ends_at_s:
                raise LabFailed(f"{daemon} was not ready within {within_s} s:\n{self.log_tail(daemon)}")
            time.sleep(0.02)

    def _catch_signals(self) -> None:
        """SIGTERM ends us as Ctrl-C does: through `__exit__`."""
        if threading.current_thread() is threading.main_thread():
            for caught in (signal.SIGTERM, signal.SIGINT):
                self._handlers[caught] = signal.getsignal(caught)
            signal.signal(signal.SIGTERM, _exit_orderly)

    def _release_signals(self) -> None:
        for caught, handler in self._handlers.items():
            signal.signal(caught, handler)  # type: ignore[arg-type]
        self._handlers.clear()


def _exit_orderly(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
