"""etcd as a scratch process of a test: loopback, free ports, a folder of its own, ended by its pid."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

STARTS_WITHIN_S = 20.0
START_ATTEMPTS = 3


class PortTaken(RuntimeError):
    """Somebody took one of our free ports before etcd did; other ports may do."""


def etcd_binary() -> str | None:
    return os.environ.get("PRIMACY_ETCD") or shutil.which("etcd")


def free_ports(count: int) -> list[int]:
    """Held open together, so that they differ. Should somebody take one before etcd does, its start fails."""
    holders = [socket.socket() for _ in range(count)]
    try:
        for holder in holders:
            holder.bind(("127.0.0.1", 0))
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()


def _die_with_the_tests() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@dataclass
class EtcdMember:
    name: str
    folder: Path
    client_port: int
    peer_port: int
    cluster: str
    """Of all members: `a=http://127.0.0.1:1,b=...`."""
    extra: tuple[str, ...] = ()
    scheme: str = "http"
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.client_port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        binary = etcd_binary()
        assert binary is not None
        peer = f"http://127.0.0.1:{self.peer_port}"
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    binary,
                    "--name", self.name,
                    "--data-dir", str(self.folder / self.name),
                    "--listen-client-urls", self.address,
                    "--advertise-client-urls", self.address,
                    "--listen-peer-urls", peer,
                    "--initial-advertise-peer-urls", peer,
                    "--initial-cluster", self.cluster,
                    "--initial-cluster-token", f"{self.folder.parent.name}-{self.folder.name}",
                    "--heartbeat-interval", "50",
                    "--election-timeout", "500",
                    "--logger", "zap",
                    "--log-outputs", "stderr",
                    *self.extra,
                ],
                stdout=log, stderr=log, env={"PATH": os.defpath}, preexec_fn=_die_with_the_tests,
            )  # fmt: skip

    def freeze(self) -> None:
        """Until all of its threads stand still: the signal is taken one by one."""
        os.kill(self.pid, signal.SIGSTOP)
        ends_at = time.monotonic() + 5.0
        while _running_threads(self.pid) and time.monotonic() < ends_at:
            time.sleep(0.001)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=10)
            self.process = None

    def wait_until_it_listens(self) -> None:
        """For servers whose health can't be asked without a certificate."""
        self._wait(self._listens)

    def wait_until_it_serves(self) -> None:
        """Healthy is: it answers a linearizable read, so there is a leader."""
        self._wait(self._healthy)

    def _wait(self, question: object) -> None:
        assert callable(question)
        until = time.monotonic() + STARTS_WITHIN_S
        while not question():
            if self.process is None or self.process.poll() is not None or time.monotonic() > until:
                log = (self.folder / f"{self.name}.log").read_text(errors="replace")
                kind = PortTaken if "address already in use" in log else RuntimeError
                raise kind(f"etcd {self.name} did not start:\n{log[-2000:]}")
            time.sleep(0.02)

    def _healthy(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.client_port, timeout=2)
        try:
            connection.request("GET", "/health")
            return b'"true"' in connection.getresponse().read()
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.client_port), timeout=1):
                return True
        except OSError:
            return False


@contextmanager
def scratch_cluster(
    count: int = 1, *, extra: tuple[str, ...] = (), scheme: str = "http"
) -> Iterator[list[EtcdMember]]:
    """Members that serve; whatever is left of them is killed and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="primacy-etcd-"))
    members: list[EtcdMember] = []
    try:
        for attempt in range(1, START_ATTEMPTS + 1):
            members = _members(folder, attempt, count, extra, scheme)
            try:
                _start_all(members)
                break
            except PortTaken:
                for member in members:
                    member.kill()
                if attempt == START_ATTEMPTS:
                    raise
        yield members
    finally:
        for member in members:
            member.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _members(folder: Path, attempt: int, count: int, extra: tuple[str, ...], scheme: str) -> list[EtcdMember]:
    inside = folder / str(attempt)
    inside.mkdir()
    names = [f"e{number}" for number in range(1, count + 1)]
    ports = free_ports(2 * count)
    peers = zip(names, ports[count:], strict=True)
    cluster = ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in peers)
    return [
        EtcdMember(name, inside, client, peer, cluster, extra, scheme)
        for name, client, peer in zip(names, ports[:count], ports[count:], strict=True)
    ]


def _start_all(members: list[EtcdMember]) -> None:
    for member in members:
        member.start()
    for member in members:
        if member.scheme == "http":
            member.wait_until_it_serves()
        else:
            member.wait_until_it_listens()


def _running_threads(pid: int) -> bool:
    states = [
        path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")
    ]
    return any(state != "T" for state in states)
