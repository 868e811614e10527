"""Guard, agent and a real PostgreSQL under a small leader: from nothing to an open primary, and on."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import psycopg
import pytest

from agents.guard.killing import kill_all, processes_of
from common.assignment import AnyOrder, Assignment, Initialise, Seal, Serve, Version
from common.facts import Facts, PostgresState
from common.rule import SOLO
from deploy.lab.ca import Authority
from deploy.setup.prepared import Prepared
from deploy.setup.say import SetupProblem
from tests.agents.leader import Leader, write_config
from tests.agents.standin import eventually

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path("/usr/lib/postgresql/15/bin/postgres").exists(), reason="no PostgreSQL"),
]


class Member:
    def __init__(self, folder: Path, leader: Leader) -> None:
        self.folder, self.leader = folder, leader
        self.data = folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.config = write_config(folder, leader.authority, [leader], port=self.port)
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "postgres", folder], check=True)
        self.revision = 1
        self.successor = 0
        self.guard = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        python, code, user = Path(sys.executable), ROOT, None
        if os.geteuid() == 0:  # neither agent nor PostgreSQL runs as root
            prepared = Prepared.here()
            python, code, user = prepared.python, prepared.code, prepared.account.name
        return subprocess.Popen(
            [python, "-m", "agents.guard.main", "--config", self.config],
            cwd=code,
            env={**os.environ, "PYTHONPATH": f"{code}:{os.environ.get('PYTHONPATH', '')}"},
            user=user,
        )

    async def order(self, facts: Facts, epoch: int, order: AnyOrder) -> None:
        self.revision += 1
        await self.leader.order(
            Assignment(
                facts.cluster,
                facts.member,
                facts.incarnation,
                1,
                Version(epoch, self.revision),
                facts.system_identifier,
                order,
            )
        )

    async def another_agent(self) -> None:
        """Heard, and PostgreSQL still open."""
        boot_id = self.leader.beats[-1].header.boot_id
        await self.leader.until_beat(lambda b: b.header.boot_id != boot_id and b.flags.open, 15)

    def children(self, pid: int) -> list[int]:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def agent(self) -> int:
        # The kernel's list of children may leave one out in the moment in which another one ends.
        for _ in range(50):
            for pid in self.children(self.guard.pid):
                if b"agents.main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
            os.sched_yield()
        raise AssertionError("no agent")

    def postmaster(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def clean_up(self) -> None:
        self.guard.send_signal(signal.SIGTERM)
        try:
            self.guard.wait(15)
        finally:
            self.guard.kill()
            if self.successor:  # killed, its agent would take its place
                eventually(lambda: not Path(f"/proc/{self.successor}").exists(), within_s=15)
            kill_all(str(self.data), "postgres")


@pytest.fixture
async def member() -> AsyncIterator[Member]:
    folder = Path(tempfile.mkdtemp(prefix="pa", dir="/tmp"))
    folder.chmod(0o755)
    leader = Leader(Authority("test"))
    await leader.start()
    try:
        made = Member(folder, leader)
    except SetupProblem as problem:
        await leader.stop()
        pytest.skip(str(problem))
    try:
        yield made
    finally:
        await asyncio.to_thread(made.clean_up)
        await leader.stop()
        shutil.rmtree(folder)


async def connect(port: int) -> psycopg.AsyncConnection[tuple[object, ...]]:
    return await psycopg.AsyncConnection.connect(
        host="127.0.0.1", port=port, user="postgres", dbname="postgres", connect_timeout=2, autocommit=True
    )


async def serve(member: Member) -> Facts:
    """An open primary, alone."""
    leader = member.leader
    facts = await leader.until(lambda f: f.postgres is PostgresState.ABSENT)
    await member.order(facts, 1, Initialise())
    facts = await leader.until(lambda f: f.system_identifier and f.postgres is PostgresState.STOPPED)
    await member.order(facts, 1, Serve(1, SOLO))
    return await leader.until(lambda f: f.open and f.postgres is PostgresState.PRIMARY)


async def test_from_nothing_to_an_open_primary_that_survives_its_agent_and_its_guard(member: Member) -> None:
    await serve(member)
    connection = await connect(member.port)
    await connection.execute("create table t as select 1 as n")
    os.kill(member.agent(), signal.SIGKILL)
    await member.another_agent()
    successor = member.successor = member.agent()
    member.guard.kill()  # from here on its agent is nobody's child that we could list
    member.guard.wait()
    await member.another_agent()
    assert await (await connection.execute("select n from t")).fetchone() == (1,)
    await connection.close()
    os.kill(successor, signal.SIGTERM)
    await member.leader.until_beat(lambda b: not b.flags.postmaster_alive, 15)
    assert not processes_of(str(member.data), "postgres")


async def test_the_death_of_postgres_is_told_within_milliseconds(member: Member) -> None:
    await serve(member)
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    os.kill(member.postmaster(), signal.SIGKILL)
    await member.leader.until_beat(lambda b: not b.flags.postmaster_alive)
    assert loop.time() - begun_at < 0.25
    await member.leader.until(lambda f: f.open)  # solo: it starts again by itself


@pytest.mark.covers("T57")
async def test_a_sealed_primary_stops_and_reports_its_end(member: Member) -> None:
    facts = await serve(member)
    await member.order(facts, 2, Seal())
    facts = await member.leader.until(lambda f: f.seal is not None)
    assert facts.seal is not None
    assert facts.seal.was_primary
    assert facts.seal.epoch == 2
    assert facts.seal.end_lsn > 0
    assert not processes_of(str(member.data), "postgres")
    # A lower epoch is never obeyed again.
    stale = msgspec.structs.replace(member.leader.last or _none(), version=Version(1, 99))
    await member.leader.order(stale)
    await asyncio.sleep(0.3)
    assert not processes_of(str(member.data), "postgres")


@pytest.mark.covers("T53")
async def test_a_sealed_primary_that_somebody_starts_by_hand_acknowledges_nothing_and_is_ended(
    member: Member,
) -> None:
    facts = await serve(member)
    connection = await connect(member.port)
    await connection.execute("create table t (n int)")
    await connection.close()
    await member.order(facts, 2, Seal())
    await member.leader.until(lambda f: f.seal is not None)

    user = "postgres" if os.geteuid() == 0 else None
    program = Path("/usr/lib/postgresql/15/bin/postgres")
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    by_hand = subprocess.Popen([program, "-D", member.data], cwd="/", user=user, **quiet)  # type: ignore[call-overload]
    acknowledged = []

    async def write_for_ever() -> None:
        while True:
            try:
                async with asyncio.timeout(1):
                    connection = await connect(member.port)
                    await connection.execute("insert into t values (1)")
                    acknowledged.append(connection)
            except (psycopg.Error, OSError, TimeoutError):
                await asyncio.sleep(0.01)

    writing = asyncio.create_task(write_for_ever())
    try:
        await asyncio.wait_for(asyncio.to_thread(by_hand.wait), 15)
    finally:
        by_hand.kill()
        writing.cancel()
    assert acknowledged == []
    assert not processes_of(str(member.data), "postgres")


@pytest.mark.covers("S47")
async def test_without_a_leader_a_primary_in_solo_stays_open_by_its_own_commits(member: Member) -> None:
    member.leader.profile = replace(member.leader.profile, lease_ms=1_500)
    await serve(member)
    await member.leader.stop()
    connection = await connect(member.port)
    await asyncio.sleep(3)
    await connection.execute("select 1")
    await connection.close()


def _none() -> Assignment:
    raise AssertionError("no order was given")
