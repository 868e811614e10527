"""Starting, stopping and finding PostgreSQL; its death, and what a death leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time

import psycopg
import pytest

from agents.core.steps import (
    Checkpoint,
    Look,
    SeeCrash,
    StartPrimary,
    StartStandby,
    StepFailed,
    StopOutcome,
    StopPostgres,
    WriteSettings,
)
from agents.postgres.instance import Instance
from agents.postgres.processes import children
from common.facts import PostgresState
from common.rule import FENCE
from tests.adapters.postgres.kit import Home, eventually, stop

pytestmark = pytest.mark.real


async def test_a_primary_starts_closed_and_stops_cleanly(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        sight = await a.look()
        assert sight.postgres is PostgresState.PRIMARY
        assert (sight.timeline, sight.was_primary, sight.marker_matches) == (1, True, True)
        assert a.instance.primary_since is not None
        assert not (await a.instance.measure()).open
        outcome = await a.perform(stop())
        assert outcome.clean
        sight = await a.look()
        assert sight.postgres is PostgresState.STOPPED
        assert sight.clean_shutdown
        assert a.pids() == []


@pytest.mark.covers("T20")
async def test_a_start_that_is_not_as_primary_writes_standby_signal_first(home: Home) -> None:
    async with home.member("a") as a:
        await a.perform(WriteSettings(FENCE))
        await a.perform(StartStandby())
        sight = await a.look()
        assert (sight.postgres, sight.was_primary) == (PostgresState.STANDBY, False)
        await a.perform(StartStandby())
        with pytest.raises(StepFailed, match="other role"):
            await a.perform(StartPrimary())


async def test_the_death_of_the_postmaster_is_told_within_milliseconds(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        waiting = asyncio.ensure_future(a.instance.wait_death())
        await asyncio.sleep(0)
        pid, killed_at = a.postmaster_pid, time.monotonic()
        os.kill(pid, signal.SIGKILL)
        death = await waiting
        assert (time.monotonic() - killed_at) < 0.1
        assert death.free_mib is not None
        assert (death.pid, death.ordered) == (pid, False)
        assert not a.instance.postmaster_alive


async def test_a_checkpoint_before_a_clean_stop_is_written_and_bounded(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        with a.connect() as session:
            where = "select checkpoint_lsn::text from pg_control_checkpoint()"
            before = session.execute(where).fetchone()
            await a.perform(Checkpoint(within_ms=5_000))
            assert session.execute(where).fetchone() != before
        with pytest.raises(StepFailed):
            await a.perform(Checkpoint(within_ms=0))
        assert (await a.perform(StopPostgres(clean=True, clean_within_ms=5_000))) == StopOutcome(clean=True)


async def test_each_death_is_told_once(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        await a.perform(StopPostgres())
        assert (await a.instance.wait_death()).ordered
        waiting = asyncio.ensure_future(a.instance.wait_death())
        await a.perform(StartPrimary())
        assert not waiting.done()
        a.kill()
        assert not (await waiting).ordered


async def test_the_crash_of_a_primary_is_known_without_a_look(home: Home) -> None:
    async with home.member("a") as a:
        assert not await a.perform(SeeCrash())
        await a.serve()
        assert not await a.perform(SeeCrash())
        os.kill(a.postmaster_pid, signal.SIGKILL)
        await a.instance.wait_death()
        assert await a.perform(SeeCrash())
        await a.perform(StopPostgres())  # what is left of it
        await a.perform(StartPrimary())
        assert not await a.perform(SeeCrash())
        await a.perform(StopPostgres())
        assert not await a.perform(SeeCrash())  # it was told to stop


async def test_the_crash_of_a_standby_is_no_crash_of_a_primary(home: Home) -> None:
    async with home.member("a") as a:
        await a.perform(WriteSettings(FENCE))
        await a.perform(StartStandby())
        os.kill(a.postmaster_pid, signal.SIGKILL)
        await a.instance.wait_death()
        assert not await a.perform(SeeCrash())


@pytest.mark.covers("S103", "T44")
async def test_postgresql_outlives_its_agent_and_is_adopted_by_the_next_one(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        pid = a.postmaster_pid
        await a.instance.__aexit__()
        async with Instance(a.config, a.clock, lambda: a.incarnation) as next_one:
            assert next_one.postmaster_alive
            waiting = asyncio.ensure_future(next_one.wait_death())
            assert a.postmaster_pid == pid
            assert await next_one.perform(StopPostgres()) == StopOutcome(clean=False)
            assert (await waiting).pid == pid


@pytest.mark.covers("T54", "T55")
async def test_stopped_means_that_no_orphan_is_left(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        busy = a.connect()
        with pytest.raises(psycopg.OperationalError), busy:
            # A backend in a tight loop does not see that its postmaster died.
            query = "do $$ begin loop perform 1; end loop; end $$"
            task = asyncio.get_running_loop().run_in_executor(None, busy.execute, query.encode())
            await asyncio.sleep(0.1)
            os.kill(a.postmaster_pid, signal.SIGKILL)
            await a.instance.wait_death()
            await asyncio.sleep(0.05)
            assert a.pids()
            assert (await a.look()).postgres is PostgresState.DYING
            with pytest.raises(StepFailed, match="are left"):
                await a.perform(StartPrimary())
            await a.perform(StopPostgres())
            assert a.pids() == []
            assert (await a.look()).postgres is PostgresState.STOPPED
            await a.perform(StartPrimary())
            await task


@pytest.mark.covers("T55")
async def test_a_frozen_postgresql_is_stopped_all_the_same(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        a.signal_all(signal.SIGSTOP)
        begun_at = time.monotonic()
        assert (await a.look()).postgres is PostgresState.STARTING
        await a.perform(StopPostgres(clean=True, clean_within_ms=5_000))
        assert time.monotonic() - begun_at < 2.0
        assert a.pids() == []


@pytest.mark.parametrize("role", ["primary", "standby"])
async def test_a_client_that_connects_and_says_nothing_does_not_hold_up_a_clean_stop(
    home: Home, role: str
) -> None:
    """15 to 17 wait for such a one to say who it is, up to authentication_timeout: 60 s."""
    async with home.member("a") as a:
        if role == "primary":
            await a.serve()
        else:
            await a.perform(WriteSettings(FENCE))
            await a.perform(StartStandby())
        # Turned away it is only by a server that is stopping already, or starting still.
        writer = next(
            child for child in children(a.postmaster_pid, a.config.title) if "writer" in child.title
        )
        os.kill(writer.pid, signal.SIGSTOP)
        stopping = asyncio.ensure_future(a.perform(StopPostgres(clean=True, clean_within_ms=10_000)))
        await eventually(lambda: "stopping" in (a.data / "postmaster.pid").read_text())
        with socket.create_connection(("127.0.0.1", a.config.port)):
            await eventually(lambda: "" in a.child_titles())
            os.kill(writer.pid, signal.SIGCONT)
            begun_at = time.monotonic()
            assert await stopping == StopOutcome(clean=True)
        assert time.monotonic() - begun_at < 2.0
        assert a.pids() == []


@pytest.mark.covers("T40")
async def test_a_disk_that_hangs_fails_a_look_and_does_not_keep_postgresql_alive(home: Home) -> None:
    async with home.member("a", disk_within_ms=300) as a:
        await a.serve()
        marker = a.data / "primacy.marker"
        marker.unlink()
        os.mkfifo(marker)  # whoever reads it waits for ever, as on a dead disk
        try:
            with pytest.raises(StepFailed, match="disk"):
                await a.perform(Look())
            assert not (await a.instance.measure()).answered
            assert await a.perform(StopPostgres()) == StopOutcome(clean=False)
            assert a.pids() == []
        finally:
            os.close(os.open(marker, os.O_RDWR | os.O_NONBLOCK))


@pytest.mark.covers("S6")
async def test_a_start_that_can_not_succeed_says_why(home: Home) -> None:
    async with home.member("a", settings={"shared_buffers": "not a size"}) as a:
        with pytest.raises(StepFailed, match="shared_buffers"):
            await a.serve()


async def test_a_crashed_primary_comes_up_again_as_a_standby_when_told_so(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        a.ask("create table t (i int)")
        a.kill()
        await a.perform(StopPostgres())
        await a.perform(WriteSettings(FENCE))
        await a.perform(StartStandby())
        assert (await a.look()).postgres is PostgresState.STANDBY
        assert a.ask("select count(*) from t") == 0
