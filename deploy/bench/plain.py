"""Plain PostgreSQL servers without any daemon, for the floor: make, start, clone, seal, promote by hand.

Nothing of Primacy is used, so that the floor stays what the machine and PostgreSQL alone can do.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg

from deploy.lab.processes import Marks, is_live, pids_with, postmaster_pid
from deploy.lab.programs import User

SEGMENT_BYTES = 16 << 20
FENCE = "ANY 1 (primacy_fence)"
STEP_WITHIN_S = 30.0
# A clone of some ten gigabytes, on a slow disk.
TOOL_WITHIN_S = 1_200
_INVALID_AT = re.compile(r"(?:error in WAL record at [0-9A-F/]+: )?invalid \S.* at ([0-9A-F]+/[0-9A-F]+)")
_NO_RECORD = re.compile(r"could not find a valid record after ([0-9A-F]+/[0-9A-F]+)")


class PlainServer:
    """One instance on loopback. Settings that change live in floor.conf, included last."""

    def __init__(self, name: str, folder: Path, bin_directory: Path, user: User, port: int) -> None:
        self.name = name
        self.data = folder / name
        self.port = port
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._bin = bin_directory
        self._user = user
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    @classmethod
    def in_folder(
        cls, folder: Path, names: Sequence[str], bin_directory: Path, user: User
    ) -> list[PlainServer]:
        """Servers beside each other in a folder of a run, where a sweep would find them."""
        base = folder / "hosts" / "plain"
        base.mkdir(mode=0o700, parents=True)
        if os.geteuid() == 0:
            os.chown(base, user.uid, user.gid)
        ports = _free_ports(len(names))
        return [cls(name, base, bin_directory, user, port) for name, port in zip(names, ports, strict=True)]

    def initialise(self) -> None:
        self._tool("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-k", "--no-sync")
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nunix_socket_directories = '{self._folder}'\n"
                "hot_standby = on\nmax_wal_senders = 10\nmax_replication_slots = 9\nwal_keep_size = '256MB'\n"
                "wal_retrieve_retry_interval = '100ms'\nrestart_after_crash = off\nshared_buffers = '32MB'\n"
                "dynamic_shared_memory_type = mmap\nwal_log_hints = on\ninclude = 'floor.conf'\n"
            )

    def rewind_to(self, source: PlainServer) -> None:
        """Instead of a clone where there is much data. A server that was killed is recovered by pg_rewind itself."""
        self._tool("pg_rewind", "-D", str(self.data), "--no-sync",
                   "--source-server", f"host=127.0.0.1 port={source.port} user=postgres dbname=postgres")  # fmt: skip
        for slot in (
            self.data / "pg_replslot"
        ).iterdir():  # where there was nothing to rewind they are still there
            shutil.rmtree(slot)
        (self.data / "standby.signal").touch()

    def clone_from(self, source: PlainServer) -> None:
        """The slot is not used: it is made after the copy."""
        shutil.rmtree(self.data, ignore_errors=True)
        self._tool("pg_basebackup", "-D", str(self.data), "-h", "127.0.0.1", "-p", str(source.port),
                   "-U", "postgres", "-c", "fast", "-X", "stream")  # fmt: skip
        (self.data / "standby.signal").touch()

    def configure(self, **settings: str) -> None:
        lines = "".join(f"{key} = '{value}'\n" for key, value in settings.items())
        written = self.data / "floor.conf.new"
        written.write_text(lines)
        if os.geteuid() == 0:  # pg_rewind overwrites it
            os.chown(written, self._user.uid, self._user.gid)
        written.rename(self.data / "floor.conf")

    def follow(self, upstream: PlainServer) -> None:
        self.configure(
            port=str(self.port),
            synchronous_standby_names=FENCE,
            primary_conninfo=(
                f"host=127.0.0.1 port={upstream.port} user=postgres application_name={self.name}"
            ),
            primary_slot_name=self.name,
        )

    def lead(self, *voters: PlainServer) -> None:
        names = ", ".join(voter.name for voter in voters)
        rule = f"ANY 1 ({names})" if voters else ""
        self.configure(port=str(self.port), synchronous_standby_names=rule)

    def start(self) -> None:
        with (self.log).open("ab") as log:
            subprocess.Popen(
                [*self._as_user(), str(self._bin / "postgres"), "-D", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        wait_for(self._answers)

    def reload(self) -> None:
        os.kill(self.postmaster(), signal.SIGHUP)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Until no process is left. SIGINT: fast and clean; SIGQUIT: at once; SIGKILL: a crash."""
        self.disconnect()
        pid = postmaster_pid(self.data)
        if pid is not None:
            os.kill(pid, how)
            if how is signal.SIGKILL:
                for child in self.pids():
                    _kill(child, signal.SIGKILL)
        wait_for(lambda: not self.pids(), every_s=0.001)

    def postmaster(self) -> int:
        pid = postmaster_pid(self.data)
        if pid is None:
            raise RuntimeError(f"{self.name} does not run: see {self.log}")
        return pid

    def query(self, statement: str) -> Any:
        """The first value, over a connection that stays."""
        if self._connection is None:
            self._connection = psycopg.connect(
                host=str(self._folder), port=self.port, user="postgres", dbname="postgres", autocommit=True
            )
        found = self._connection.execute(statement)
        row = found.fetchone() if found.description else None
        return None if row is None else row[0]

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def seal(self, *, scan: bool = True) -> str:
        """Withdraws the upstream, ends every receiver by pid, and scans for the end of the valid WAL; `0/0` without."""
        self.configure(port=str(self.port), synchronous_standby_names=FENCE)
        self.reload()
        postmaster = self.postmaster()
        while receivers := _receivers(postmaster):
            for pid in receivers:
                _kill(pid, signal.SIGTERM)
            time.sleep(0.0005)
        return self._end_of_wal() if scan else "0/0"

    def promote(self) -> int:
        """Returns the new timeline."""
        self.query("SELECT pg_promote(false)")
        wait_for(lambda: self.query("SELECT pg_is_in_recovery()") is False, every_s=0.001)
        return int(
            self.query("SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int")
        )

    def startup_process(self) -> int:
        """Which replays; of a standby."""
        found = [pid for pid, title in _children(self.postmaster()) if b"startup" in title]
        if len(found) != 1:
            raise RuntimeError(f"{self.name} has {len(found)} startup processes")
        return found[0]

    def take_history(self, source: PlainServer, timeline: int) -> None:
        """With the history file in place it goes over to the new timeline at its first connection."""
        name = f"{timeline:08X}.history"
        target = self.data / "pg_wal" / name
        shutil.copyfile(source.data / "pg_wal" / name, target)
        if os.geteuid() == 0:
            os.chown(target, self._user.uid, self._user.gid)

    def _end_of_wal(self) -> str:
        replayed = str(self.query("SELECT pg_last_wal_replay_lsn()"))
        timeline = self._timeline_at(replayed)
        if timeline is None:  # the segment is not there yet, and pg_waldump would wait five seconds for it
            return replayed
        done = subprocess.run(
            [*self._as_user(), str(self._bin / "pg_waldump"), "-q", "-p", str(self.data / "pg_wal"),
             "-t", str(timeline), "-s", replayed],
            capture_output=True, text=True, timeout=STEP_WITHIN_S, check=False, cwd="/",
        )  # fmt: skip
        if _NO_RECORD.search(done.stderr):
            return replayed
        found = _INVALID_AT.findall(done.stderr)
        return found[-1] if found else replayed

    def _timeline_at(self, lsn: str) -> int | None:
        """The newest timeline that has a segment with this position."""
        high, low = lsn.split("/")
        tail = f"{int(high, 16):08X}{int(low, 16) // SEGMENT_BYTES:08X}"
        return max(
            (int(path.name[:8], 16) for path in self.data.glob(f"pg_wal/????????{tail}")), default=None
        )

    def _answers(self) -> bool:
        try:
            return bool(self.query("SELECT 1") == 1)
        except psycopg.Error:
            self.disconnect()
            return False

    def pids(self) -> list[int]:
        return pids_with(Marks(None, (), self.data))

    def _tool(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as_user(), str(self._bin / program), *arguments],
            capture_output=True, text=True, timeout=TOOL_WITHIN_S, check=False, cwd="/",
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stderr.strip()}")

    def _as_user(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        return ["setpriv", f"--reuid={self._user.uid}", f"--regid={self._user.gid}", "--clear-groups", "--"]


def wait_for(true: Callable[[], bool], *, every_s: float = 0.01, within_s: float = STEP_WITHIN_S) -> None:
    ends_at_s = time.monotonic() + within_s
    while not true():
        if time.monotonic() > ends_at_s:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(every_s)


def _receivers(postmaster: int) -> list[int]:
    return [pid for pid, title in _children(postmaster) if b"walreceiver" in title and is_live(pid)]


def _children(postmaster: int) -> list[tuple[int, bytes]]:
    """(pid, title)"""
    try:
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    except OSError:
        return []
    found = []
    for child in children:
        try:
            found.append((int(child), Path(f"/proc/{child}/cmdline").read_bytes()))
        except OSError:
            continue
    return found


def _kill(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
