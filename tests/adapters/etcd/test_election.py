"""The election on real etcd: winning, following, handing over, and stopping in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from common.clock import BootClock
from common.errors import LostLeadership, Refused
from common.timebase import SECOND_US, Instant, elapsed_ms
from orchestrator.etcd.client import CallTimes, Client
from orchestrator.etcd.control_nodes import EtcdControlNodes
from orchestrator.etcd.election import ElectionTimes, EtcdElection
from orchestrator.etcd.keyspace import Keyspace
from orchestrator.etcd.record_store import EtcdRecordStore
from orchestrator.ports import ClusterIdChanged, Leadership, Shard, Term
from tests.adapters.etcd.forgetful import ForgetfulClient
from tests.adapters.etcd.relay import Relay
from tests.adapters.etcd.scratch_etcd import EtcdMember

pytestmark = pytest.mark.real

SHARD = Shard("0")
QUICK_CALLS = CallTimes(connect_within_ms=200, call_within_ms=200, total_within_ms=500, watch_for_ms=500)
SHORT = ElectionTimes(ttl_s=2, margin_ms=300, beat_every_ms=200, prove_every_ms=100, retry_every_ms=50)
WITHIN_S = 10


class MovableClock(BootClock):
    """A clock whose host can be put to sleep by the test."""

    def __init__(self) -> None:
        self.slept_us = 0

    def now(self) -> Instant:
        return Instant(super().now() + self.slept_us)


def candidate(
    client: Client, keys: Keyspace, name: str, *, clock: BootClock | None = None, times: ElectionTimes = SHORT
) -> EtcdElection:
    return EtcdElection(
        client, keys, clock or BootClock(), shard=SHARD, name=name, address=f"{name}:7432", times=times
    )


@asynccontextmanager
async def taking_part(*elections: EtcdElection) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.ensure_future(election.run()) for election in elections]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, ClusterIdChanged):
                await task


async def until(election: EtcdElection, holds: Callable[[Leadership], bool]) -> Leadership:
    async with asyncio.timeout(WITHIN_S):
        async for leadership in election.changes():
            if holds(leadership):
                return leadership
    raise AssertionError("the changes ended")


async def term_of(election: EtcdElection) -> Term:
    term = (await until(election, lambda leadership: leadership.term is not None)).term
    assert term is not None
    return term


class TestWinning:
    async def test_alone_it_wins_and_its_term_is_the_create_revision_of_the_key(
        self, client: Client, keys: Keyspace, clock: BootClock
    ) -> None:
        election = candidate(client, keys, "one")
        began_at = clock.now()
        async with taking_part(election):
            term = await term_of(election)
            assert election.term == term
            stored = await client.get(term.key)
            assert stored is not None
            assert (stored.create_revision, stored.lease_id) == (term.create_revision, term.lease_id)
            leader = await election.leader()
            assert leader == election.current_leader
            assert leader is not None
            assert (leader.name, leader.address, leader.term) == ("one", "one:7432", term.create_revision)
            # The victory is the first proof; it was sent before it was answered.
            assert election.proof_sent_at is not None
            assert began_at < election.proof_sent_at < clock.now()

    async def test_a_leader_keeps_its_term_longer_than_the_lease_and_renews_its_proof(
        self, client: Client, keys: Keyspace, clock: BootClock
    ) -> None:
        election = candidate(client, keys, "one")
        async with taking_part(election):
            term = await term_of(election)
            first = election.proof_sent_at
            assert first is not None
            async with asyncio.timeout(WITHIN_S):
                while (election.proof_sent_at or first) < first + 2.5 * SECOND_US:
                    await asyncio.sleep(0.05)
            assert election.term == term

    async def test_a_proof_tells_when_it_was_asked_for(
        self, client: Client, keys: Keyspace, clock: BootClock
    ) -> None:
        election = candidate(client, keys, "one")
        async with taking_part(election):
            await term_of(election)
            before = clock.now()
            sent_at = await election.prove()
            assert before <= sent_at <= clock.now()
            assert election.proof_sent_at is not None
            assert election.proof_sent_at >= sent_at

    async def test_a_follower_knows_its_leader_and_can_prove_nothing(
        self, client: Client, keys: Keyspace
    ) -> None:
        one, two = candidate(client, keys, "one"), candidate(client, keys, "two")
        async with taking_part(one):
            term = await term_of(one)
            async with taking_part(two):
                seen = await until(two, lambda leadership: leadership.leader is not None)
                assert seen.term is None
                assert seen.leader is not None
                assert (seen.leader.name, seen.leader.term) == ("one", term.create_revision)
                assert two.proof_sent_at is None
                with pytest.raises(LostLeadership):
                    await two.prove()

    @pytest.mark.parametrize("fate", ["stored", "lost", "held"])
    async def test_a_campaign_whose_answer_was_lost_ends_in_one_leader(
        self, etcd: EtcdMember, keys: Keyspace, clock: BootClock, client: Client, fate: str
    ) -> None:
        forgetful = ForgetfulClient([etcd.address], clock=clock)
        forgetful.next_fate = fate
        election = candidate(forgetful, keys, "one")
        try:
            async with taking_part(election):
                term = await term_of(election)
                if forgetful.held is not None:  # its lease was given back: it can't land any more
                    compare, success, failure = forgetful.held
                    with suppress(Refused):
                        late = await client.transaction(compare, success, failure)
                        assert not late.succeeded
                stored = await client.get(term.key)
                assert stored is not None
                assert stored.create_revision == term.create_revision
        finally:
            await forgetful.close()


class TestHandingOver:
    async def test_resigning_hands_over_within_milliseconds(
        self, client: Client, keys: Keyspace, clock: BootClock
    ) -> None:
        one, two = candidate(client, keys, "one"), candidate(client, keys, "two")
        async with taking_part(one) as [running]:
            first = await term_of(one)
            async with taking_part(two):
                await until(two, lambda leadership: leadership.leader is not None)
                resigned_at = clock.now()
                resigning = asyncio.ensure_future(one.resign())
                second = await term_of(two)
                handed_over_ms = elapsed_ms(since=resigned_at, now=clock.now())
                await resigning
                await running
                assert second.create_revision > first.create_revision
                assert one.term is None
                assert handed_over_ms < 500  # typically two

    async def test_a_crashed_leader_is_replaced_when_its_lease_runs_out(
        self, client: Client, keys: Keyspace, clock: BootClock
    ) -> None:
        one, two = candidate(client, keys, "one"), candidate(client, keys, "two")
        async with taking_part(one):
            first = await term_of(one)
        crashed_at = clock.now()
        assert one.term is None
        async with taking_part(two):
            second = await term_of(two)
        assert second.create_revision > first.create_revision
        assert elapsed_ms(since=crashed_at, now=clock.now()) < 5_000

    async def test_who_resigned_may_take_part_again_under_a_new_term(
        self, client: Client, keys: Keyspace
    ) -> None:
        election = candidate(client, keys, "one")
        await election.resign()  # nothing to resign from
        async with taking_part(election):
            first = await term_of(election)
            await election.resign()
            assert election.term is None
        async with taking_part(election):
            second = await term_of(election)
            assert second.create_revision > first.create_revision


class TestLosing:
    async def test_a_frozen_etcd_ends_the_term_before_the_lease_could_run_out(
        self, own_etcd: EtcdMember, keys: Keyspace, clock: BootClock
    ) -> None:
        client = Client([own_etcd.address], clock=clock, times=QUICK_CALLS)
        election = candidate(client, keys, "one")
        try:
            async with taking_part(election):
                old = await term_of(election)
                frozen_at = clock.now()
                own_etcd.freeze()
                await until(election, lambda leadership: leadership.term is None)
                # No beat that was sent after the freeze can have been answered.
                led_on_ms = elapsed_ms(since=frozen_at, now=clock.now())
                assert led_on_ms <= SHORT.ttl_s * 1000 - SHORT.margin_ms + 200
                assert election.term is None
                assert election.proof_sent_at is None
                with pytest.raises(LostLeadership):
                    await election.prove()
                own_etcd.thaw()
                new = await term_of(election)
                assert new.create_revision > old.create_revision
                with pytest.raises(LostLeadership):
                    await EtcdRecordStore(client, keys, clock).save("main", b"late", 0, old)
        finally:
            own_etcd.thaw()
            await client.close()

    async def test_after_a_sleep_of_the_host_the_term_is_over_before_any_task_runs(
        self, client: Client, keys: Keyspace
    ) -> None:
        clock = MovableClock()
        election = candidate(client, keys, "one", clock=clock)
        async with taking_part(election):
            await term_of(election)
            clock.slept_us = 60 * SECOND_US
            assert election.term is None  # nothing was awaited in between
            assert election.proof_sent_at is None
            await until(election, lambda leadership: leadership.term is None)

    async def test_a_leader_that_is_busy_for_longer_than_its_lease_keeps_its_term(
        self, client: Client, keys: Keyspace, clock: BootClock
    ) -> None:
        election = candidate(client, keys, "one")
        async with taking_part(election):
            term = await term_of(election)
            busy_until = clock.now() + 4 * SECOND_US
            while clock.now() < busy_until:
                burst_until = clock.now() + SECOND_US // 2
                while clock.now() < burst_until:
                    pass  # a turn of the loop takes half a second
                await asyncio.sleep(0)
            assert election.term == term
            assert election.proof_sent_at is not None
            assert elapsed_ms(since=election.proof_sent_at, now=clock.now()) < 1_000
            stored = await client.get(term.key)
            assert stored is not None
            assert stored.create_revision == term.create_revision

    async def test_a_leader_whose_loop_hangs_loses_its_term(
        self, client: Client, keys: Keyspace, clock: BootClock
    ) -> None:
        election = candidate(client, keys, "one")
        async with taking_part(election):
            term = await term_of(election)
            won_at = election.proof_sent_at
            while election.proof_sent_at == won_at:
                await asyncio.sleep(0.01)  # its keeper has begun
            # etcd looks for dead leases twice a second.
            hung_for_ms = SHORT.hung_after_ms + SHORT.ttl_s * 1000 + 1_500
            hung_until = clock.now() + hung_for_ms * 1000
            while clock.now() < hung_until:
                pass
            assert election.term is None
            stored = await client.get(term.key)
            assert stored is None or stored.create_revision != term.create_revision

    async def test_a_key_removed_by_a_stranger_ends_the_term_and_the_next_one_is_higher(
        self, client: Client, keys: Keyspace
    ) -> None:
        election = candidate(client, keys, "one")
        async with taking_part(election):
            first = await term_of(election)
            await client.delete(first.key)
            second = await until(
                election, lambda leadership: leadership.term is not None and leadership.term != first
            )
            assert second.term is not None
            assert second.term.create_revision > first.create_revision

    async def test_a_revoked_lease_ends_the_term(self, client: Client, keys: Keyspace) -> None:
        election = candidate(client, keys, "one")
        async with taking_part(election):
            first = await term_of(election)
            await client.lease_revoke(first.lease_id)
            await until(election, lambda leadership: leadership.term != first)

    async def test_a_lost_term_saves_nothing_however_late(
        self, client: Client, keys: Keyspace, clock: BootClock
    ) -> None:
        one, two = candidate(client, keys, "one"), candidate(client, keys, "two")
        records = EtcdRecordStore(client, keys, clock)
        async with taking_part(one, two):
            leader = (await until(one, lambda leadership: leadership.leader is not None)).leader
            assert leader is not None
            loser, winner = (one, two) if leader.name == "one" else (two, one)
            first_term = await term_of(loser)
            revision = await records.save("main", b"one", 0, first_term)
            resigning = asyncio.ensure_future(loser.resign())
            second_term = await term_of(winner)
            await resigning
            with pytest.raises(LostLeadership):
                await records.save("main", b"late", revision, first_term)
            await records.save("main", b"two", revision, second_term)

    async def test_another_etcd_ends_the_term_and_the_run(
        self, relay: Relay, own_etcd: EtcdMember, keys: Keyspace, clock: BootClock
    ) -> None:
        client = Client([relay.address], clock=clock, times=QUICK_CALLS)
        election = candidate(client, keys, "one")
        try:
            async with taking_part(election) as [running]:
                await term_of(election)
                relay.point_at(own_etcd.client_port)
                async with asyncio.timeout(WITHIN_S):
                    with pytest.raises(ClusterIdChanged):
                        await running
                assert election.term is None
        finally:
            await client.close()

    async def test_etcd_away_from_the_start_is_waited_out(
        self, relay: Relay, relayed_client: Client, keys: Keyspace
    ) -> None:
        relay.refuse()
        election = candidate(relayed_client, keys, "one")
        async with taking_part(election):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await term_of(election)
            relay.heal()
            await term_of(election)


async def test_a_control_node_is_listed_while_it_runs(
    client: Client, keys: Keyspace, clock: BootClock
) -> None:
    nodes = EtcdControlNodes(client, keys, clock, name="one", address="one:7432")
    assert await nodes.present() == ()
    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
        running = group.create_task(nodes.run())
        while not (found := await nodes.present()):
            await asyncio.sleep(0.01)
        running.cancel()
    assert [(node.name, node.address) for node in found] == [("one", "one:7432")]


async def test_an_entry_that_can_not_be_read_is_left_out(
    client: Client, keys: Keyspace, clock: BootClock
) -> None:
    await client.put(keys.control_node("odd"), b"not ours")
    assert await EtcdControlNodes(client, keys, clock, name="one", address="a").present() == ()
