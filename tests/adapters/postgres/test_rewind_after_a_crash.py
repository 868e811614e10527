"""What a primary was doing as it crashed does not keep it from being rewound (R9)."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from agents.core.steps import (
    EndReceivers,
    LocalCommit,
    PlaceHistories,
    PromotePostgres,
    Rewind,
    StartStandby,
    StepFailed,
    WriteSettings,
)
from agents.postgres.versions import read_version
from common.rule import FENCE
from tests.adapters.postgres.kit import Home, Member, eventually
from tests.adapters.postgres.test_making import rejoin

pytestmark = [pytest.mark.real, pytest.mark.covers("R9", "S40")]

WITHIN_S = 20
NOBODY_LOGS_IN = "lock table pg_authid in access exclusive mode"
# More of them than a session keeps in shared memory (PGPROC_MAX_CACHED_SUBXIDS, 64).
MANY_SUBTRANSACTIONS = """
do $$ begin
    for i in 1..100 loop
        begin insert into t values (i); exception when division_by_zero then null; end;
    end loop;
end $$
"""


async def crashed_during(a: Member, b: Member, statement: str) -> None:
    """`a` dies with the statement's transaction open, having written more than `b`, which was promoted."""
    await a.serve()
    await b.follow(a)
    a.ask("create table t (i int)")
    await eventually(lambda: b.has_replayed(a))
    await b.perform(WriteSettings(FENCE))
    await b.perform(EndReceivers())
    with a.connect() as other, a.connect() as client:
        client.execute("begin")
        client.execute(statement.encode())
        # Recovery begins at a checkpoint, and learns there what was open.
        other.execute("checkpoint")
        other.execute("insert into t values (0)")
        await b.perform(PromotePostgres(10_000))
        await b.perform(WriteSettings(""))
        await b.perform(LocalCommit())
        a.kill()
        with pytest.raises(psycopg.OperationalError):
            client.execute("commit")
    await a.stop(clean=False)


@pytest.mark.parametrize("statement", [NOBODY_LOGS_IN, MANY_SUBTRANSACTIONS], ids=["lock", "subtransactions"])
async def test_a_primary_that_died_in_a_transaction_that_shuts_a_standby_s_door_is_rewound(
    home: Home, statement: str
) -> None:
    async with home.member("a", start_silent_ms=1_500) as a, home.member("b") as b:
        await crashed_during(a, b, statement)
        await a.perform(WriteSettings(FENCE))
        await asyncio.wait_for(a.perform(Rewind(b.upstream)), WITHIN_S)
        a.incarnation = "00000000000000ff"
        await a.mark()
        await rejoin(a, b)
        assert a.ask("select count(*) from t") == 0


@pytest.mark.slow
async def test_a_start_that_stands_still_is_given_up_though_recovery_looks_for_wal_again_and_again(
    home: Home,
) -> None:
    """Those looks use the CPU, a tick every five to twelve seconds: with the default of 15 s it never ended."""
    async with home.member("a") as a, home.member("b") as b:
        await crashed_during(a, b, NOBODY_LOGS_IN)
        await a.perform(WriteSettings(FENCE))
        with pytest.raises(StepFailed, match="without progress"):
            await asyncio.wait_for(a.perform(StartStandby()), 3 * a.config.start_silent_ms / 1000)


async def test_a_primary_that_died_before_its_first_checkpoint_keeps_no_page_of_the_branch_that_was_lost(
    home: Home,
) -> None:
    """Consistent for PostgreSQL once it was replayed up to its promotion, with megabytes to go; stopped there,
    pg_rewind left all later pages as they were: 57072 of 60000 rows were seen (16 to 18). 15 finds no common
    checkpoint of such a one."""
    async with home.member("a") as a, home.member("b") as b, home.member("c") as c:
        await a.serve()
        await b.follow(a)
        await c.follow(a)
        a.ask("create table kept as select i, repeat('x', 100) as s from generate_series(1, 20000) i")
        a.ask("create table dirty as table kept")
        for table in ("kept", "dirty"):
            a.ask(f"select count(*) from {table}")  # hint bits, which would be written later
        a.ask("checkpoint")
        await eventually(lambda: b.has_replayed(a) and c.has_replayed(a))
        b.ask("checkpoint")
        c.ask("checkpoint")
        a.ask(
            "update dirty set i = 0"
        )  # the checkpoint after the promotion has much to do, and takes its time
        await eventually(lambda: b.has_replayed(a) and c.has_replayed(a))
        await promote(b)
        a.kill()
        sight = await b.look()
        await c.perform(WriteSettings(FENCE))
        await c.perform(EndReceivers())
        await c.perform(PlaceHistories(sight.timeline, sight.history))
        await c.follow(b, epoch=2)
        await eventually(lambda: c.has_replayed(b))
        await c.perform(WriteSettings(FENCE))
        await c.perform(EndReceivers())
        # Its small buffers make it write the pages of these to the disk.
        for _ in range(3):
            b.ask("update kept set i = i + 1000000")
        b.ask("update dirty set i = i + 1")
        await promote(c)
        c.ask("checkpoint")
        b.kill()
        await b.stop(clean=False)
        await b.perform(WriteSettings(FENCE))
        try:
            await b.perform(Rewind(c.upstream))
        except StepFailed:
            assert read_version(b.config.bin_directory).major <= 15
            return
        b.incarnation = "00000000000000ff"
        await b.mark()
        # The transactions of the lost branch come to be committed ones, if a page still names them.
        c.ask("create table later (i int)")
        for _ in range(40):
            c.ask("insert into later values (1)")
        sight = await c.look()
        await b.perform(PlaceHistories(sight.timeline, sight.history))
        await b.follow(c, epoch=3)
        await eventually(lambda: b.has_replayed(c))
        rows = "select (count(*), sum(i))::text from kept"
        assert b.ask(rows) == c.ask(rows) == "(20000,200010000)"


async def promote(member: Member) -> None:
    await member.perform(WriteSettings(FENCE))
    await member.perform(EndReceivers())
    await member.perform(PromotePostgres(10_000))
    await member.perform(WriteSettings(""))
    await member.perform(LocalCommit())
