"""A voter looks at the candidate: in one statement, which sees what happens while it runs (R5)."""

from __future__ import annotations

import asyncio

import pytest

from agents.core.steps import AwaitSuccessor, MakeSlots, PromotePostgres, StepFailed, WriteSettings
from common.rule import FENCE
from tests.adapters.postgres.kit import Home, Member, eventually

pytestmark = pytest.mark.real

PATIENCE_MS = 10_000
_LOOKS = "select count(*) from pg_stat_activity where usename = %s and state = 'active'"


def looking(at: Member) -> bool:
    return bool(at.ask(_LOOKS, at.config.replication_user))


async def candidate(a: Member, b: Member) -> None:
    await a.serve()
    await b.follow(a)
    await a.stop(clean=False)
    await b.perform(WriteSettings(FENCE))


async def test_a_promotion_and_then_a_slot_are_seen_by_the_look_that_waits_for_them(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b, home.member("c") as c:
        await candidate(a, b)
        for slot, step in (("", PromotePostgres(PATIENCE_MS)), ("c_1_e2", MakeSlots(("c_1_e2",), 2))):
            look = asyncio.ensure_future(c.perform(AwaitSuccessor(b.upstream, 2, slot, PATIENCE_MS)))
            await eventually(lambda: looking(b))
            await b.perform(step)
            async with asyncio.timeout(PATIENCE_MS / 2_000):
                history = await look
            assert [line.timeline for line in history] == [1]
        await eventually(lambda: not looking(b))


async def test_a_look_ends_within_its_time_and_its_session_with_the_next_step(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b, home.member("c") as c:
        await candidate(a, b)
        assert await c.perform(AwaitSuccessor(b.upstream, 2, "", 20)) == ()
        sessions = "select count(*) from pg_stat_activity where usename = %s"
        assert b.ask(sessions, b.config.replication_user) == 1
        assert await c.perform(AwaitSuccessor(b.upstream, 2, "", 0)) == ()
        assert b.ask(sessions, b.config.replication_user) == 1
        await c.look()
        await eventually(lambda: b.ask(sessions, b.config.replication_user) == 0)


async def test_who_is_promoted_to_another_timeline_is_not_the_successor(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b, home.member("c") as c:
        await candidate(a, b)
        await b.perform(PromotePostgres(PATIENCE_MS))
        with pytest.raises(StepFailed, match=r"00000003\.history"):
            await c.perform(AwaitSuccessor(b.upstream, 3, "", 20))


async def test_who_is_not_there_is_not_waited_for(home: Home) -> None:
    async with home.member("b") as b, home.member("c") as c:
        with pytest.raises(StepFailed, match="b takes no connection"):
            await c.perform(AwaitSuccessor(b.upstream, 2, "", PATIENCE_MS))
