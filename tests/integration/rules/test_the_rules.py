"""Each rule of protocol.md on real PostgreSQL, with the production cores: what `make test-broken` turns red.

A test here is small: the shortest sequence in which the clause matters, and what a client would suffer
without it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import psycopg
import pytest

from agents.core.steps import MakeSlots, PromotePostgres, StepFailed, StopPostgres
from common.assignment import HistoryStep, Rebuild, Seal, Serve
from common.facts import PostgresState, SealReport
from common.ids import MemberName
from common.rule import SOLO, Rule, RuleKind
from orchestrator.core.candidates import choose
from orchestrator.core.quorum import resolve_all, sealed_voters
from orchestrator.core.record import MemberRecord, Phase, Prior, Record
from orchestrator.core.view import ClusterView
from tests.adapters.postgres.kit import CLUSTER, Home, Member, eventually
from tests.integration.rules.driven import Driven

pytestmark = [pytest.mark.real]

NOT_FOR_MS = 500
"""Several times the interval at which a standby tries again to reach its upstream."""


@dataclass
class Three:
    """`a` serves in epoch 1; `b` and `c` follow it when asked to."""

    a: Member
    b: Driven
    c: Driven

    @property
    def both(self) -> Rule:
        return Rule(RuleKind.QUORUM, (self.b.voter, self.c.voter), 1)

    def alone(self, member: Driven) -> Rule:
        return Rule(RuleKind.QUORUM, (member.voter,), 1)

    async def followed_by(self, *members: Driven) -> None:
        slots = tuple(f"{member.name}_1_e1" for member in members)
        await self.a.perform(MakeSlots(slots, 1))
        for member in members:
            assert await member.follow(self.a)
            await eventually(lambda name=member.name: self.a.streams(f"{name}.1@1"))  # type: ignore[misc]


@pytest.fixture
async def three(home: Home) -> AsyncIterator[Three]:
    async with AsyncExitStack() as stack:
        a, b, c = [await stack.enter_async_context(home.member(name)) for name in "abc"]
        driven = [await Driven.of(member) for member in (b, c)]
        for member in driven:
            stack.callback(member.close)
        await a.serve()
        a.ask("create table t (i int)")
        yield Three(a, *driven)


def acknowledged(member: Member, value: int, within_ms: int = 1_000) -> bool:
    """Whether a client's commit was, without a warning.

    `statement_timeout` does not end the wait for voters (E8), so another session cancels it; a cancelled
    wait comes back as success with a warning.
    """
    warnings: list[object] = []
    with member.connect() as client:
        client.add_notice_handler(warnings.append)
        cancel = b"select pg_cancel_backend(%d)" % client.info.backend_pid
        timer = threading.Timer(within_ms / 1000, lambda: member.ask(cancel.decode()))
        timer.start()
        try:
            client.execute(b"insert into t values (%s)", (value,))
        except psycopg.Error:
            return False
        finally:
            timer.cancel()
            timer.join()
    return not warnings


def record_of(three: Three, seals: Mapping[str, SealReport]) -> Record:
    """SEALING epoch 2, as the leader's record would say: `a` served under ANY 1 (b, c)."""
    members = tuple(
        MemberRecord(
            MemberName(name), "127.0.0.1", ("127.0.0.1",), 5432, "", 100, False, 1, driven_incarnation
        )
        for name, driven_incarnation in (
            ("a", None),
            ("b", three.b.state.incarnation),
            ("c", three.c.state.incarnation),
        )
    )
    return Record(
        CLUSTER,
        2,
        Phase.SEALING,
        members,
        primary=MemberName("a"),
        timeline=1,
        timeline_max=1,
        rules=(three.both,),
        prior=(Prior(1, MemberName("a"), 1, three.both),),
        seals=tuple((MemberName(name), seal) for name, seal in seals.items()),
    )


def chosen(record: Record, *, to: str | None = None) -> str | None:
    """As the leader does it; nobody while a prior is not resolved."""
    sealed = sealed_voters(record, dict(record.seals))
    bounds = [resolution.bound for resolution in resolve_all(record.prior, sealed)]
    if any(bound is None for bound in bounds):
        return None
    found = choose(
        record,
        ClusterView(),
        sealed,
        [bound for bound in bounds if bound is not None],
        k=1,
        to=None if to is None else MemberName(to),
    )
    return found.ranking.best


async def a_row_that_only_c_has(three: Three) -> None:
    """`a` acknowledged it under ANY 1 (b, c) while b's receiver hung; then a's host was lost."""
    await three.followed_by(three.b, three.c)
    await three.a.serve(three.both.synchronous_standby_names(1))
    await eventually(lambda: "ANY 1" in three.a.ask("show synchronous_standby_names"))
    await eventually(lambda: three.a.streams("b.1@1") and three.a.streams("c.1@1"))
    os.kill(three.b.member.ask("select pid from pg_stat_wal_receiver"), signal.SIGSTOP)
    assert await asyncio.to_thread(acknowledged, three.a, 42, 5_000)
    three.a.kill()


@pytest.mark.covers("R1")
async def test_r1_nothing_enters_a_sealed_standby(three: Three) -> None:
    await three.followed_by(three.b)
    seal = await three.b.be_sealed()
    three.a.ask("insert into t values (1)")
    await asyncio.sleep(NOT_FOR_MS / 1000)
    assert not three.a.streams("b.1@1")
    assert three.b.member.ask("select pg_last_wal_receive_lsn() <= %s::pg_lsn", str(seal.end_lsn))


@pytest.mark.covers("R2")
async def test_r2_too_few_seals_choose_nobody(three: Three) -> None:
    await a_row_that_only_c_has(three)
    record = record_of(three, {"b": await three.b.be_sealed()})
    assert chosen(record) is None, "c may have been acknowledged what b does not have"


@pytest.mark.covers("R3")
async def test_r3_a_member_below_the_bound_is_not_chosen_even_if_asked_for(three: Three) -> None:
    await a_row_that_only_c_has(three)
    record = record_of(three, {"b": await three.b.be_sealed(), "c": await three.c.be_sealed()})
    assert chosen(record, to="b") == "c"
    assert await three.c.obey(2, three.c.promotion(2, SOLO))
    assert three.c.member.ask("select count(*) from t where i = 42") == 1


@pytest.mark.covers("R4")
async def test_r4_a_promotion_cut_short_is_not_repeated_in_its_epoch(three: Three) -> None:
    await three.followed_by(three.b)
    three.a.kill()
    await three.b.be_sealed()
    assert await three.b.obey(2, three.b.promotion(2, SOLO), until=PromotePostgres)
    three.b.member.kill()
    await three.b.member.perform(StopPostgres())
    three.b.restart()
    await three.b.go_on()
    assert three.b.told[-1].promotion_failed
    assert (await three.b.member.look()).postgres is not PostgresState.PRIMARY


@pytest.mark.covers("R5")
async def test_r5_a_new_primary_acknowledges_nothing_before_its_quorum_has_it(three: Three) -> None:
    await three.followed_by(three.b, three.c)
    three.a.kill()
    await three.c.be_sealed()
    await three.b.be_sealed()
    assert await three.b.obey(2, three.b.promotion(2, three.alone(three.c), ("c_1_e2",)))
    assert (await three.b.member.look()).postgres is PostgresState.PRIMARY
    assert not await asyncio.to_thread(acknowledged, three.b.member, 7)


@pytest.mark.covers("R6", "T4")
async def test_r6_a_rule_is_not_confirmed_before_its_voters_have_everything(three: Three) -> None:
    await three.followed_by(three.b)
    primary = await Driven.of(three.a)
    try:
        assert await primary.obey(1, Serve(1, SOLO))
        os.kill(three.b.member.ask("select pid from pg_stat_wal_receiver"), signal.SIGSTOP)
        with pytest.raises(StepFailed, match="did not flush"):
            await primary.obey(1, Serve(1, SOLO, three.alone(three.b)))
        assert primary.confirmed == []
    finally:
        primary.close()


@pytest.mark.covers("R7")
async def test_r7_a_late_order_of_an_older_epoch_is_refused_also_after_a_restart(three: Three) -> None:
    await three.followed_by(three.b)
    await three.b.be_sealed()
    three.b.restart()
    assert not await three.b.follow(three.a, epoch=1)
    await asyncio.sleep(NOT_FOR_MS / 1000)
    assert not three.a.streams("b.1@1")


@pytest.mark.covers("R8", "T20")
async def test_r8_a_candidate_killed_inside_its_promotion_comes_back_as_a_standby(three: Three) -> None:
    await three.followed_by(three.b)
    three.a.kill()
    await three.b.be_sealed()
    member = three.b.member
    member.ask("select pg_promote(false)")
    await eventually(lambda: not member.ask("select pg_is_in_recovery()"))
    member.kill()
    await three.b.obey(3, Seal())
    await three.b.go_on()
    if (await member.look()).postgres is PostgresState.STOPPED:
        assert await three.b.obey(3, three.b.promotion(5, SOLO), until=PromotePostgres)
    assert (await member.look()).postgres is PostgresState.STANDBY


@pytest.mark.covers("R9")
async def test_r9_a_member_with_more_than_its_upstream_forked_from_is_not_attached(three: Three) -> None:
    await three.followed_by(three.b, three.c)
    await three.b.be_sealed()
    three.a.ask("insert into t select generate_series(1, 1000)")
    await eventually(lambda: three.c.member.has_received(three.a))
    three.a.kill()
    assert await three.b.obey(2, three.b.promotion(2, SOLO, ("c_1_e2",)))
    promotion = three.b.state.promotion
    assert promotion is not None
    history = (HistoryStep(1, promotion.switch_lsn),)
    assert await three.c.follow(three.b.member, epoch=2, timeline=2, history=history)
    assert "forked off" in three.c.told[-1].rebuild_needed
    await asyncio.sleep(NOT_FOR_MS / 1000)
    assert not three.b.member.ask("select count(*) from pg_stat_replication")


@pytest.mark.covers("R11", "T15")
async def test_r11_a_promotion_takes_the_timeline_that_was_allocated(three: Three) -> None:
    await three.followed_by(three.b)
    three.a.kill()
    await three.b.be_sealed()
    assert await three.b.obey(2, three.b.promotion(5, SOLO))
    sight = await three.b.member.look()
    assert (sight.postgres, sight.timeline) == (PostgresState.PRIMARY, 5)


@pytest.mark.covers("R12", "S89", "T30")
async def test_r12_a_voter_streams_through_its_own_slot_and_loses_no_wal_while_it_is_away(
    three: Three,
) -> None:
    await three.followed_by(three.b, three.c)
    used = "select count(*) from pg_replication_slots where active and slot_name in ('b_1_e1', 'c_1_e1')"
    await eventually(lambda: three.a.streams("b.1@1") and three.a.streams("c.1@1"))
    assert three.a.ask(used) == 2


@pytest.mark.covers("R13")
async def test_r13_a_rebuilt_member_is_another_incarnation_and_obeys_nothing_meant_for_the_old_one(
    three: Three,
) -> None:
    await three.followed_by(three.b)
    before = three.b.state.incarnation
    await three.b.member.stop()
    for file in (three.b.member.data / "PG_VERSION", three.b.member.data / "global" / "pg_control"):
        file.unlink()
    assert await three.b.follow(three.a, rebuild=Rebuild(None))
    assert three.b.state.incarnation != before
    assert not await three.b.obey(9, Seal(), incarnation=before)
    three.b.number = 2
    await three.a.perform(MakeSlots(("b_2_e1",), 1))
    assert await three.b.follow(three.a)
    await eventually(lambda: three.a.streams("b.2@1"))
