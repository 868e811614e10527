"""Promotion on real PostgreSQL: ids, placeholders, a candidate that dies in between (R5, R11; V1 to V5)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

import psycopg
import pytest

from agents.core.steps import (
    EndReceivers,
    HistoryFile,
    ListHistories,
    LocalCommit,
    MakeSlots,
    MeasureEnd,
    PlaceHistories,
    PlantPlaceholders,
    Promoted,
    PromotePostgres,
    RemoveHistories,
    StartStandby,
    StepFailed,
    StopPostgres,
    WriteSettings,
)
from common.assignment import HistoryStep
from common.facts import PostgresState
from common.lsn import Lsn
from common.rule import FENCE
from tests.adapters.postgres.kit import Home, Member, eventually

pytestmark = [pytest.mark.real, pytest.mark.covers("R11")]

PROMOTE = PromotePostgres(within_ms=10_000)


async def sealed_pair(a: Member, b: Member) -> None:
    """`a` is gone, `b` is sealed."""
    await a.serve()
    await b.follow(a)
    a.ask("create table t as select generate_series(1, 100) as i")
    await eventually(lambda: b.has_received(a))
    a.kill()
    await b.perform(WriteSettings(FENCE))
    await b.perform(EndReceivers())


async def promoted(work: Awaitable[object]) -> Promoted:
    outcome = await work
    assert isinstance(outcome, Promoted)
    return outcome


async def test_the_next_timeline_is_taken_at_the_sealed_end(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await sealed_pair(a, b)
        end = await b.perform(MeasureEnd())
        done = await promoted(b.perform(PROMOTE))
        assert (done.timeline, done.switch_lsn) == (2, end.end_lsn)
        assert await promoted(b.perform(PROMOTE)) == done
        sight = await b.look()
        assert (sight.postgres, sight.timeline) == (PostgresState.PRIMARY, 2)
        assert sight.history == (HistoryStep(1, end.end_lsn),)
        recovered_lsn = b.instance.end_of_recovery_lsn
        assert recovered_lsn is not None
        assert recovered_lsn > done.switch_lsn
        assert b.instance.primary_since is not None


@pytest.mark.covers("T15")
async def test_skipped_ids_are_taken_by_placeholders_that_stay(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b, home.member("c") as c:
        await sealed_pair(a, b)
        await b.perform(PlantPlaceholders(parent=1, timelines=(6, 5, 4, 3, 2)))
        done = await promoted(b.perform(PROMOTE))
        assert done.timeline == 7
        assert b.history_files() == [2, 3, 4, 5, 6, 7]
        history = (await b.look()).history
        assert history == (HistoryStep(1, done.switch_lsn),)
        # A latecomer on timeline 1 gets the real file and those of the gap from its own agent (V1, F4).
        await c.perform(PlaceHistories(7, history))
        assert c.history_files() == [2, 3, 4, 5, 6, 7]
        await c.follow(b, epoch=2)
        await eventually(lambda: c.has_replayed(b))
        assert (await c.instance.measure()).timeline == 7
        listed = await c.perform(ListHistories(above=5))
        assert listed == (
            HistoryFile(6, placeholder=True, forks_off_lsn=Lsn.parse("0/1000000")),
            HistoryFile(7, placeholder=False, forks_off_lsn=done.switch_lsn),
        )


async def test_a_start_takes_trailing_placeholders_away_and_leaves_those_below_a_real_file(
    home: Home,
) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await sealed_pair(a, b)
        await b.perform(PlantPlaceholders(parent=1, timelines=(4, 3, 2)))
        b.kill()
        await b.perform(StopPostgres())
        await b.perform(StartStandby())
        assert b.history_files() == []
        await b.perform(PlantPlaceholders(parent=1, timelines=(3, 2)))
        assert (await promoted(b.perform(PROMOTE))).timeline == 4
        await b.perform(PlantPlaceholders(parent=4, timelines=(6, 5)))
        b.kill()
        await b.perform(StopPostgres())
        await b.perform(WriteSettings(FENCE))
        await b.perform(StartStandby())
        assert b.history_files() == [2, 3, 4]


@pytest.mark.parametrize("delay_ms", [0, 3, 10])
async def test_a_candidate_killed_inside_its_promotion_comes_back_as_a_standby(
    home: Home, delay_ms: int
) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await sealed_pair(a, b)
        b.ask("select pg_promote(false)")
        await eventually(lambda: 2 in b.history_files())
        await asyncio.sleep(delay_ms / 1000)
        b.kill()
        await b.perform(StopPostgres())
        await b.perform(WriteSettings(FENCE))
        await b.perform(StartStandby())
        sight = await b.look()
        assert sight.postgres is PostgresState.STANDBY
        end = await b.perform(MeasureEnd())
        done = await promoted(b.perform(PROMOTE))
        assert done.timeline == 3
        assert done.switch_lsn == end.end_lsn
        assert b.ask("select count(*) from t") == 100


async def test_nothing_is_promoted_without_the_fence_in_force(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await sealed_pair(a, b)
        await b.perform(WriteSettings(""))
        with pytest.raises(StepFailed, match="fence"):
            await b.perform(PROMOTE)
        assert (await b.look()).postgres is PostgresState.STANDBY


async def test_nothing_is_acknowledged_between_the_promotion_and_the_new_rule(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await sealed_pair(a, b)
        await promoted(b.perform(PROMOTE))
        with b.connect() as client:
            loop = asyncio.get_running_loop()
            commit = loop.run_in_executor(None, client.execute, b"insert into t values (1)")
            waits = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
            await eventually(lambda: b.ask(waits) == 1)
            assert not commit.done()
            # The new rule is solo: put in force, it releases the waiter.
            await b.perform(WriteSettings(""))
            await b.perform(LocalCommit())
            await commit


@pytest.mark.covers("T11")
async def test_sessions_that_block_replay_hold_up_no_promotion(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a, closed=False)
        a.ask("create table t as select generate_series(1, 100) as i")
        await eventually(lambda: b.has_replayed(a))
        with b.connect() as reader:
            reader.execute("begin isolation level repeatable read")
            reader.execute("select count(*) from t")
            a.ask("drop table t")
            await eventually(lambda: b.has_received(a))
            a.kill()
            await b.perform(WriteSettings(FENCE))
            await b.perform(EndReceivers())
            assert (await promoted(b.perform(PROMOTE))).timeline == 2
            with pytest.raises(psycopg.OperationalError):
                reader.execute("select 1")


@pytest.mark.covers("T16")
async def test_a_history_file_that_brought_no_record_says_nothing_of_the_end(home: Home) -> None:
    """Left by an attach that did not get that far: the end is still on the old timeline."""
    async with home.member("a") as a, home.member("b") as b, home.member("c") as c:
        await a.serve()
        await b.follow(a)
        await c.follow(a)
        a.ask("create table t as select generate_series(1, 100) as i")
        await eventually(lambda: b.has_replayed(a) and c.has_replayed(a))
        a.kill()
        for member in (b, c):
            await member.perform(WriteSettings(FENCE))
            await member.perform(EndReceivers())
        end = await c.perform(MeasureEnd())
        done = await promoted(b.perform(PROMOTE))
        await c.perform(PlaceHistories(2, (await b.look()).history))
        assert await c.perform(MeasureEnd()) == end
        # Once a record of it is there, it counts, also before PostgreSQL wrote so into its control file.
        await c.follow(b, epoch=2)
        await b.perform(LocalCommit())
        await eventually(lambda: c.has_replayed(b))
        await c.perform(WriteSettings(FENCE))
        await c.perform(EndReceivers())
        later = await c.perform(MeasureEnd())
        assert later.timeline == 2
        assert later.end_lsn > done.switch_lsn
        # And the same when it stands still.
        await c.perform(StopPostgres())
        stopped = await c.perform(MeasureEnd())
        assert (stopped.timeline, stopped.end_lsn) == (2, later.end_lsn)


async def test_history_files_are_removed_only_while_postgresql_stands_still(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        with pytest.raises(StepFailed):
            await a.perform(RemoveHistories((3, 2)))
        await a.stop()
        await a.perform(PlantPlaceholders(parent=1, timelines=(3, 2)))
        await a.perform(RemoveHistories((3,)))
        assert a.history_files() == [2]


async def test_a_promotion_takes_no_longer_than_its_own_work(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await sealed_pair(a, b)
        begun_at = time.monotonic()
        await promoted(b.perform(PROMOTE))
        await b.perform(MakeSlots(("a_1_e2",), 2))
        assert time.monotonic() - begun_at < 1.0
