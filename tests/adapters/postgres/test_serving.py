"""A serving primary: door, rule, slots, walsenders, the probe commit (R5, R6, R8, R12; "Staying up")."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import psycopg
import pytest

from agents.core.steps import (
    EndClients,
    EndWalsender,
    InsertPosition,
    ListWalsenders,
    LocalCommit,
    MakeSlots,
    Open,
    PromotePostgres,
    SeeCommitWait,
    SeeRule,
    StartPrimary,
    StartStandby,
    StopPostgres,
    WriteSettings,
)
from common.facts import PostgresState, WriteState
from common.lsn import Lsn
from common.rule import FENCE
from tests.adapters.postgres.kit import SOLO, Home, Member, eventually

pytestmark = pytest.mark.real

RULE = 'ANY 1 ("b.1@1")'
WITNESS = (
    "select pid from pg_stat_activity where query like 'select pg_logical_emit_message%' and state = 'idle'"
)
SYNC_WAITERS = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"


def over_tcp(member: Member, user: str, **options: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host="127.0.0.1", port=member.config.port, user=user, dbname="postgres", autocommit=True, **options
    )


async def in_force(member: Member, rule: str) -> None:
    for _ in range(500):
        if await member.perform(SeeRule()) == rule:
            return
        await asyncio.sleep(0.002)
    raise AssertionError(f"{rule} did not come into force")


@pytest.mark.covers("R8", "T2")
async def test_closed_means_closed_for_clients_but_not_for_the_probe_and_replication(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        a.ask("create role client login password 'pw'")
        with pytest.raises(psycopg.OperationalError, match="no pg_hba"):
            over_tcp(a, "client", password="pw")
        over_tcp(a, "primacy_probe", password="probe:secret").close()
        over_tcp(a, "primacy_replication", password="replication:secret").close()
        with pytest.raises(psycopg.OperationalError, match="password"):
            over_tcp(a, "primacy_probe", password="wrong")
        await b.follow(a)
        await a.perform(Open())
        await eventually(lambda: not over_tcp(a, "client", password="pw").closed)
        assert (await a.instance.measure()).open
        # As it is: a change of rule leaves the door alone.
        await a.perform(WriteSettings(RULE, closed=None))
        assert (await a.instance.measure()).open
        a.kill()
        await a.stop(clean=False)
        await a.perform(StartPrimary())
        assert not (await a.instance.measure()).open


async def test_the_probe_sees_and_pg_rewind_s_role_may_what_it_must(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        with over_tcp(a, "primacy_replication", password="replication:secret") as connection:
            connection.execute("checkpoint")
            assert connection.execute("select count(*) from pg_ls_dir('.', true, false)").fetchone() != (0,)
        with over_tcp(a, "primacy_probe", password="probe:secret") as connection:
            connection.execute("select * from pg_stat_replication")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("checkpoint")


@pytest.mark.covers("R12", "S90", "S92", "T30")
async def test_slots_of_an_epoch_are_made_and_older_ones_dropped_once_their_member_has_moved(
    home: Home,
) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        await a.perform(MakeSlots(("b_1_e1", "c_1_e1"), 1))
        a.ask("select pg_create_physical_replication_slot('somebody_else')")
        for _ in range(2):
            await a.perform(MakeSlots(("b_1_e2", "c_1_e2"), 2))
        new = {"b_1_e2": False, "c_1_e2": False, "somebody_else": False}
        assert slots_of(a) == {"b_1_e1": True, "c_1_e1": False, **new}
        assert a.ask("select restart_lsn from pg_replication_slots where slot_name = 'c_1_e2'") is None
        await b.follow(a, epoch=2)  # it asks for its own slot alone, as if c had left
        for _ in range(2):
            await a.perform(MakeSlots(("b_1_e2", "c_1_e2"), 2))
        assert slots_of(a) == {**new, "b_1_e2": True}


def slots_of(member: Member) -> dict[str, bool]:
    with member.connect() as connection:
        return dict(connection.execute("select slot_name, active from pg_replication_slots").fetchall())


@pytest.mark.covers("S92", "T31")
async def test_the_slot_of_a_member_that_left_or_was_rebuilt_goes_unless_it_is_in_use(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        await a.perform(MakeSlots(("b_1_e1", "c_1_e1", "d_1_e1"), 1))
        for _ in range(2):  # b and c are other incarnations by now, b still streams as the old one; d left
            await a.perform(MakeSlots(("b_2_e1", "c_2_e1"), 1))
        assert slots_of(a) == {"b_1_e1": True, "b_2_e1": False, "c_2_e1": False}


@pytest.mark.covers("T33")
async def test_a_former_primary_drops_its_slots_as_a_standby(home: Home) -> None:
    """Slots of others stay; those of ours would hold WAL here, and the new primary's vacuum by feedback."""
    async with home.member("a") as a:
        await a.serve()
        await a.perform(MakeSlots(("b_1_e1", "c_1_e1"), 1))
        a.ask("select pg_create_physical_replication_slot('somebody_else')")
        await a.perform(StopPostgres())
        await a.perform(WriteSettings(FENCE))
        await a.perform(StartStandby())
        await a.perform(MakeSlots((), 2))
        assert a.ask("select string_agg(slot_name, ' ') from pg_replication_slots") == "somebody_else"


@pytest.mark.covers("R6")
async def test_a_walsender_that_is_ended_comes_back_as_another_process(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        (old,) = await a.perform(ListWalsenders())
        assert (old.application_name, old.streaming) == ("b.1@1", True)
        await a.perform(EndWalsender(old.pid))
        await eventually(lambda: a.streams("b.1@1"))
        (new,) = await a.perform(ListWalsenders())
        assert new.pid != old.pid
        barrier_lsn = await a.perform(InsertPosition())
        flushed_lsn = await a.perform(LocalCommit())
        assert flushed_lsn > barrier_lsn


@pytest.mark.covers("R6", "T4")
async def test_a_commit_is_seen_waiting_under_the_fence_and_never_without(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        assert not await a.perform(SeeCommitWait(500))
        await a.perform(WriteSettings(FENCE))
        await in_force(a, FENCE)
        async with asyncio.timeout(10):
            while not await a.perform(SeeCommitWait(50)):
                pass
        assert a.ask(SYNC_WAITERS) >= 1
        # Its session was closed, and ends by itself once somebody lets it go.
        await a.perform(WriteSettings(SOLO))
        await a.perform(LocalCommit())
        await eventually(lambda: a.ask(SYNC_WAITERS) == 0)


async def test_a_probe_commit_counts_when_a_voter_acknowledged_it(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        await a.perform(WriteSettings(RULE))
        await in_force(a, RULE)
        before_lsn = await a.perform(InsertPosition())
        before = a.clock.now()
        outcome = await a.instance.probe_commit(RULE, 5_000)
        assert (outcome.state, outcome.rule_seen, outcome.error) == (WriteState.ACKNOWLEDGED, RULE, "")
        assert before <= outcome.begun_at <= a.clock.now()
        assert outcome.end_lsn is not None
        assert outcome.end_lsn > before_lsn
        await eventually(lambda: b.has_received(a))
        other = await a.instance.probe_commit("ANY 1 (somebody)", 5_000)
        assert not other.acknowledged
        assert other.rule_seen == RULE


async def test_a_standby_keeps_the_sessions_warm_in_which_it_probes_as_a_primary(home: Home) -> None:
    sessions = "select count(*) from pg_stat_activity where application_name = 'primacy_agent'"
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        before = int(b.ask(sessions))
        await b.instance.keep_probe_warm()
        await b.instance.keep_probe_warm()
        assert int(b.ask(sessions)) == before + 2
        await b.perform(StopPostgres())
        await b.perform(StartStandby())
        await b.instance.keep_probe_warm()  # hears that the session is gone
        await b.instance.keep_probe_warm()
        before = int(b.ask(sessions)) - 2
        await b.perform(EndClients())
        await b.perform(PromotePostgres(10_000))
        await b.perform(WriteSettings(SOLO))
        await in_force(b, SOLO)
        assert (await b.instance.probe_commit(SOLO, 5_000)).acknowledged
        assert int(b.ask(sessions)) == before + 2


async def test_a_probe_commit_without_voters_waits_and_its_late_answer_still_counts(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve(RULE)
        first = await a.instance.probe_commit(RULE, 300)
        assert first.state is WriteState.WAITING
        again = await a.instance.probe_commit(RULE, 50)
        assert (again.state, again.begun_at) == (WriteState.WAITING, first.begun_at)
        assert a.ask(SYNC_WAITERS) == 1
        await b.follow(a)
        late = await a.instance.probe_commit(RULE, 5_000)
        assert (late.state, late.begun_at) == (WriteState.ACKNOWLEDGED, first.begun_at)
        fresh = await a.instance.probe_commit(RULE, 5_000)
        assert fresh.acknowledged
        assert fresh.begun_at > first.begun_at


async def test_while_a_probe_commit_waits_a_flushed_commit_calls_for_replies(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve(RULE)
        assert (await a.instance.probe_commit(RULE, 300)).state is WriteState.WAITING
        flushed = a.ask("select pg_current_wal_flush_lsn()::text")
        assert (await a.instance.probe_commit(RULE, 20)).state is WriteState.WAITING
        assert Lsn.parse(a.ask("select pg_current_wal_flush_lsn()::text")) > Lsn.parse(flushed)
        assert a.ask(SYNC_WAITERS) == 1


@pytest.mark.covers("T1")
async def test_a_cancelled_wait_is_no_acknowledgement(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve(RULE)
        assert (await a.instance.probe_commit(RULE, 300)).state is WriteState.WAITING
        a.ask("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
        outcome = await a.instance.probe_commit(RULE, 5_000)
        assert not outcome.acknowledged
        assert outcome.warned
        a.ask("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")


async def test_a_terminated_probe_counts_for_nothing_and_the_next_one_is_a_new_connection(
    home: Home,
) -> None:
    async with home.member("a") as a:
        await a.serve(RULE)
        assert (await a.instance.probe_commit(RULE, 300)).state is WriteState.WAITING
        a.ask("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
        outcome = await a.instance.probe_commit(RULE, 5_000)
        assert outcome.state is WriteState.NONE
        assert outcome.error
        assert (await a.instance.probe_commit(RULE, 300)).state is WriteState.WAITING


async def test_a_session_that_answers_late_does_not_make_a_waiting_commit_a_stalled_one(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve(RULE)
        assert (await a.instance.probe_commit(RULE, 300)).state is WriteState.WAITING
        os.kill(a.ask(WITNESS), signal.SIGSTOP)
        assert (await a.instance.probe_commit(RULE, 20)).state is WriteState.WAITING


@pytest.mark.covers("T39")
async def test_a_probe_commit_on_a_frozen_postgresql_is_stalled(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        assert (await a.instance.probe_commit(SOLO, 5_000)).acknowledged
        a.signal_all(signal.SIGSTOP)
        stalled = await a.instance.probe_commit(SOLO, 200)
        assert stalled.state is WriteState.STALLED
        facts = await a.instance.measure()
        assert (facts.postgres, facts.answered) == (PostgresState.STARTING, False)
        a.signal_all(signal.SIGCONT)
        assert (await a.instance.probe_commit(SOLO, 5_000)).begun_at == stalled.begun_at


async def test_a_standby_and_a_stopped_postgresql_take_no_probe_commit(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        assert (await b.instance.probe_commit(FENCE, 2_000)).state is WriteState.NONE
        await a.stop()
        assert (await a.instance.probe_commit(SOLO, 2_000)).state is WriteState.NONE


async def test_measuring_shows_both_sides_of_a_stream(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        assert (await a.instance.measure()).postgres is PostgresState.STOPPED
        await a.serve()
        await b.follow(a)
        a.ask("create table t (i int)")
        await eventually(lambda: b.has_replayed(a))
        primary, standby = await a.instance.measure(), await b.instance.measure()
        assert (primary.postgres, standby.postgres) == (PostgresState.PRIMARY, PostgresState.STANDBY)
        (peer,) = primary.peers
        assert (peer.application_name, peer.state) == ("b.1@1", "streaming")
        assert peer.flushed_lsn > Lsn(0)
        assert (standby.receiver_alive, standby.upstream) == (True, "b.1@1")
        assert standby.received_age_ms is not None
        assert standby.flushed_lsn <= primary.insert_lsn
        assert primary.rule_in_force == SOLO
        assert primary.system_identifier == standby.system_identifier != ""
        assert primary.free_mib is not None
        assert primary.answered


async def test_managed_settings_set_by_alter_system_are_removed_and_reported(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        a.ask("alter system set synchronous_standby_names = 'somebody'")
        a.ask("alter system set work_mem = '5MB'")
        await a.perform(WriteSettings(FENCE))
        await in_force(a, FENCE)
        assert a.ask("show work_mem") == "5MB"
        assert any("synchronous_standby_names" in words for words in a.instance.notices)


@pytest.mark.covers("T41")
async def test_clients_that_took_every_connection_take_none_from_the_agent(home: Home) -> None:
    """A primary without a free connection looks like a dead one to whoever asks it as a client does."""
    settings = {"max_connections": "20", "max_wal_senders": "4", "dynamic_shared_memory_type": "mmap"}
    async with home.member("a", settings=settings) as a:
        await a.serve()
        a.ask("create role app login password 'app'")
        await a.perform(Open())
        clients = []
        try:
            with pytest.raises(psycopg.OperationalError, match=r"too many|remaining connection slots"):
                for _ in range(21):
                    clients.append(over_tcp(a, "app", password="app"))
            seen = await a.instance.measure()
            assert seen.answered
            assert seen.postgres is PostgresState.PRIMARY
            assert (await a.instance.probe_commit(SOLO, 5_000)).acknowledged
            assert await a.stop()
        finally:
            for client in clients:
                client.close()
