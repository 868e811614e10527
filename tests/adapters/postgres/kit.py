"""Members on real PostgreSQL for the adapter's tests: made from one template, each with its `Instance`.

A member's data directory is a copy of a stopped primary, so a test starts in a fraction of a second. What a
recipe would yield, the tests yield by hand.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pwd
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from msgspec.structs import replace

from agents.core.state import AgentState
from agents.core.steps import (
    Initdb,
    Look,
    MakeSlots,
    Sight,
    StartPrimary,
    StartStandby,
    Step,
    StopOutcome,
    StopPostgres,
    Stream,
    WriteMarker,
    WriteSettings,
)
from agents.postgres.config import InstanceConfig, RunAs
from agents.postgres.histories import history_path
from agents.postgres.instance import Instance
from agents.postgres.marker import half_marker, write_marker
from agents.postgres.processes import children, processes_of
from common.assignment import Upstream
from common.clock import BootClock
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import Lsn
from common.rule import FENCE
from deploy.lab.shared_memory import remove_named_by

CLUSTER = ClusterName("shop")
PATIENCE_S = 20.0
_ROOM_BYTES = 1 << 30
SOLO = ""
_PORTS = range(15_000, 32_000)


def server_user() -> RunAs | None:
    """PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    user = pwd.getpwnam("postgres")
    return RunAs(user.pw_uid, user.pw_gid)


def postgresql_programs() -> Path | None:
    """Told by PRIMACY_PGBIN (`make test` sets it; `none`: there is none), or the system's newest."""
    told = os.environ.get("PRIMACY_PGBIN")
    if told:
        return None if told == "none" else Path(told)
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("1[5-8]/bin/postgres")]
    return max(found, default=None)


def free_port() -> int:
    """Below those that the kernel gives to whoever connects: one of them may be taken by the time of a start."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def own(path: Path) -> None:
    user = server_user()
    if user is not None:
        os.chown(path, user.uid, user.gid)


class Member:
    """One PostgreSQL and its adapter; use as `async with`."""

    def __init__(self, home: Path, bin_directory: Path, name: str, **changes: Any) -> None:
        root = home / name
        root.mkdir(exist_ok=True)
        own(root)
        state = root / "state"
        state.mkdir(exist_ok=True)
        own(state)
        passwords = {}
        for role in ("replication", "probe"):
            passwords[role] = root / f"{role}.password"
            passwords[role].write_text(f"{role}:secret\n")
            passwords[role].chmod(0o600)
        config = InstanceConfig(
            cluster=CLUSTER,
            member=MemberName(name),
            bin_directory=bin_directory,
            data_directory=root / "data",
            state_directory=state,
            socket_directory=root / "s",
            listen_addresses="127.0.0.1",
            port=free_port(),
            replication_password_file=passwords["replication"],
            probe_password_file=passwords["probe"],
            hba=("host all all 127.0.0.1/32 scram-sha-256",),
            settings={
                "shared_buffers": "16MB",
                "wal_keep_size": "64MB",
                "autovacuum": "off",
                # Inside the data directory: whoever is killed and not started again leaves nothing elsewhere.
                "dynamic_shared_memory_type": "mmap",
            },
            run_as=server_user(),
        )
        self.config = dataclasses.replace(config, **changes)
        self.incarnation = f"{ord(name[0]):016x}"
        self.clock = BootClock()
        self.instance = Instance(self.config, self.clock, lambda: self.incarnation)

    async def __aenter__(self) -> Self:
        await self.instance.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.instance.__aexit__(kind, error, trace)
        self.kill()
        remove_named_by(self.data)  # a killed postmaster leaves its segment, and its folder is removed

    @property
    def data(self) -> Path:
        return self.config.data_directory

    @property
    def wal(self) -> Path:
        return self.config.wal_directory

    @property
    def upstream(self) -> Upstream:
        return Upstream(self.config.member, "127.0.0.1", self.config.port)

    def state(self, **changes: Any) -> AgentState:
        return replace(AgentState(CLUSTER, self.config.member, IncarnationId(self.incarnation)), **changes)

    async def perform(self, step: Step) -> Any:
        return await self.instance.perform(step)

    async def stop(self, *, clean: bool = True) -> bool:
        outcome = await self.perform(stop() if clean else StopPostgres())
        assert isinstance(outcome, StopOutcome)
        return outcome.clean

    async def look(self) -> Sight:
        sight = await self.perform(Look())
        assert isinstance(sight, Sight)
        return sight

    # Roles, as recipes would give them

    async def serve(self, rule: str = SOLO) -> Self:
        await self.perform(WriteSettings(rule))
        await self.perform(StartPrimary())
        return self

    async def follow(self, upstream: Member, *, epoch: int = 1, closed: bool = True) -> Self:
        stream = self.stream(upstream, epoch)
        await upstream.perform(MakeSlots((stream.slot,), epoch))
        await self.perform(WriteSettings(FENCE, stream, closed=closed))
        if not self.instance.postmaster_alive:
            await self.perform(StartStandby())
        await eventually(lambda: upstream.streams(stream.application_name))
        return self

    def stream(self, upstream: Member, epoch: int = 1) -> Stream:
        name = self.config.member
        return Stream(upstream.upstream, f"{name}.1@{epoch}", f"{name}_1_e{epoch}", epoch)

    async def mark(self) -> None:
        await self.perform(WriteMarker(self.state()))

    # Looking without the adapter

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.config.socket_directory),
            port=self.config.port,
            user="postgres",
            dbname="postgres",
            autocommit=True,
            **options,
        )

    def ask(self, statement: str, *arguments: Any) -> Any:
        with self.connect() as connection:
            cursor = connection.execute(statement.encode(), arguments or None)
            row = cursor.fetchone() if cursor.description is not None else None
            return None if row is None else row[0]

    def streams(self, application_name: str) -> bool:
        sql = "select count(*) from pg_stat_replication where application_name = %s and state = 'streaming'"
        return bool(self.ask(sql, application_name) == 1)

    def has_replayed(self, other: Member) -> bool:
        target = other.ask("select pg_current_wal_lsn()::text")
        return Lsn.parse(self.ask("select pg_last_wal_replay_lsn()::text")) >= Lsn.parse(target)

    def has_received(self, other: Member) -> bool:
        target = other.ask("select pg_current_wal_flush_lsn()::text")
        return Lsn.parse(self.ask("select pg_last_wal_receive_lsn()::text")) >= Lsn.parse(target)

    def child_titles(self) -> list[str]:
        postmaster = self.postmaster_pid
        return [child.title for child in children(postmaster, self.config.title)] if postmaster else []

    @property
    def postmaster_pid(self) -> int:
        with suppress(FileNotFoundError):
            return int((self.data / "postmaster.pid").read_text().split()[0])
        return 0

    def pids(self) -> list[int]:
        return processes_of(self.data)

    def history_files(self) -> list[int]:
        return sorted(int(path.stem, 16) for path in self.wal.glob("*.history"))

    def history_text(self, timeline: int) -> str:
        return history_path(self.wal, timeline).read_text()

    # Faults

    def signal_all(self, number: signal.Signals) -> list[int]:
        pids = self.pids()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def kill(self) -> None:
        """As a host that disappears: every process at once."""
        self.signal_all(signal.SIGSTOP)
        self.signal_all(signal.SIGKILL)


class Home:
    """The folder of one test, below which its members live."""

    def __init__(self, path: Path, bin_directory: Path, template: Path | None) -> None:
        self.path = path
        self.bin_directory = bin_directory
        self._template = template

    @asynccontextmanager
    async def member(self, name: str, *, empty: bool = False, **changes: Any) -> AsyncIterator[Member]:
        """With the template's data directory, stopped, unless it is to be empty."""
        member = Member(self.path, self.bin_directory, name, **changes)
        if not empty:
            assert self._template is not None
            copy_tree(self._template, member.data)
        async with member:
            if not empty:
                await member.mark()
            yield member


async def make_template(path: Path, programs: Path) -> Path:
    """A data directory: initialised, with its roles, stopped."""
    async with Home(path, programs, None).member("t", empty=True) as member:
        await member.perform(Initdb())
        await member.mark()
        await member.serve()
        await member.perform(stop())
        return member.data


def copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)
    target.chmod(0o700)
    for folder, _, files in os.walk(target):
        own(Path(folder))
        for file in files:
            own(Path(folder) / file)


def new_home() -> Path:
    """Short, because a socket's path must be; open to the server's user; in memory where there is room."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES
    path = Path(tempfile.mkdtemp(prefix="pg-", dir=memory if roomy else "/tmp"))
    path.chmod(0o755)
    own(path)
    return path


def half_made(member: Member, what: str) -> None:
    write_marker(member.config, half_marker(member.config, what))


async def eventually(condition: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(within_s):
        while True:
            with suppress(psycopg.Error):
                if condition():
                    return
            await asyncio.sleep(0.002)


def stop(clean: bool = True) -> StopPostgres:
    return StopPostgres(clean=clean, clean_within_ms=5_000)
