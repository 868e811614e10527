"""The stores on real etcd: the contract, and what only this adapter promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from common.clock import BootClock
from common.errors import LostLeadership, NotDelivered, OutcomeUnknown
from orchestrator.etcd.client import CallTimes, Client
from orchestrator.etcd.history import EtcdHistoryStore
from orchestrator.etcd.keyspace import Keyspace
from orchestrator.etcd.record_store import EtcdRecordStore
from orchestrator.etcd.spec_store import EtcdSpecStore
from orchestrator.ports import Conflict, Shard, Shelf, Term
from tests.adapters.etcd.forgetful import ForgetfulClient
from tests.adapters.etcd.record_store_contract import (
    HistoryStoreContract,
    RecordStoreContract,
    SpecStoreContract,
)
from tests.adapters.etcd.relay import Relay
from tests.adapters.etcd.scratch_etcd import EtcdMember

pytestmark = pytest.mark.real


class EtcdWorld:
    def __init__(self, client: ForgetfulClient, keys: Keyspace, clock: BootClock) -> None:
        self.client, self._keys = client, keys
        self.records = EtcdRecordStore(client, keys, clock)
        self.specs = EtcdSpecStore(client, keys, clock)
        self.history = EtcdHistoryStore(client, keys, clock)

    async def elect(self) -> Term:
        key = self._keys.election(Shard("0"))
        await self.client.delete(key)
        return Term(create_revision=await self.client.put(key, b"{}"), key=key, lease_id=0)

    def lose_next_answer(self, *, stored: bool) -> None:
        self.client.next_fate = "stored" if stored else "lost"

    def delay_next_write(self) -> None:
        self.client.next_fate = "held"

    async def deliver_delayed(self) -> None:
        assert self.client.held is not None
        await self.client.transaction(*self.client.held)


@pytest.fixture
async def world(etcd: EtcdMember, keys: Keyspace, clock: BootClock) -> AsyncIterator[EtcdWorld]:
    client = ForgetfulClient([etcd.address], clock=clock)
    yield EtcdWorld(client, keys, clock)
    await client.close()


class TestRecordsOnEtcd(RecordStoreContract):
    @pytest.mark.parametrize("stored", [True, False])
    async def test_a_lost_answer_is_settled_by_asking_again(self, world: EtcdWorld, stored: bool) -> None:
        term = await world.elect()
        first = await world.records.save("main", b"one", 0, term)
        world.lose_next_answer(stored=stored)
        revision = await world.records.save("main", b"two", first, term)
        found = await world.records.load("main")
        assert found is not None
        assert (found.body, found.mod_revision) == (b"two", revision)
        assert revision == first + 1  # stored once, not twice

    async def test_a_lost_answer_after_which_somebody_else_wrote_is_a_conflict(
        self, world: EtcdWorld, client: Client, keys: Keyspace
    ) -> None:
        term = await world.elect()
        first = await world.records.save("main", b"one", 0, term)
        await client.put(keys.record("main"), b"a stranger's")
        world.lose_next_answer(stored=True)
        with pytest.raises(Conflict):
            await world.records.save("main", b"two", first, term)

    async def test_the_etcd_that_answered_is_known_by_its_id(self, world: EtcdWorld) -> None:
        assert world.records.etcd_cluster_id is None
        await world.records.load("main")
        assert world.records.etcd_cluster_id


class TestSpecsOnEtcd(SpecStoreContract):
    async def test_a_deleted_specification_leaves_the_feed(
        self, world: EtcdWorld, client: Client, keys: Keyspace
    ) -> None:
        await world.specs.save("a", b"1", 0)
        async with world.specs.feed() as feed:
            assert set(await anext(feed)) == {"a"}
            await client.delete(keys.spec("a"))
            assert await anext(feed) == {}


class TestHistoryOnEtcd(HistoryStoreContract):
    pass


async def test_the_feed_goes_on_after_etcd_was_away(
    relayed_client: Client, relay: Relay, client: Client, keys: Keyspace, clock: BootClock
) -> None:
    here = EtcdSpecStore(client, keys, clock)
    await here.save("a", b"1", 0)
    async with EtcdSpecStore(relayed_client, keys, clock).feed() as feed:
        assert set(await anext(feed)) == {"a"}
        relay.refuse()
        await here.save("b", b"2", 0)
        relay.heal()
        assert set(await anext(feed)) == {"a", "b"}


class TestThroughABadLine:
    """Real bytes lost on a real connection: how gRPC's outcomes are told apart."""

    @pytest.fixture
    async def records(self, relay: Relay, keys: Keyspace, clock: BootClock) -> AsyncIterator[EtcdRecordStore]:
        times = CallTimes(connect_within_ms=200, call_within_ms=200, total_within_ms=600)
        client = Client([relay.address], clock=clock, times=times)
        yield EtcdRecordStore(client, keys, clock)
        await client.close()

    @pytest.fixture
    async def term(self, client: Client, keys: Keyspace) -> Term:
        key = keys.election(Shard("0"))
        return Term(create_revision=await client.put(key, b"{}"), key=key, lease_id=0)

    async def test_with_nobody_there_it_was_surely_not_delivered(
        self, records: EtcdRecordStore, relay: Relay, term: Term
    ) -> None:
        relay.refuse()
        with pytest.raises(NotDelivered):
            await records.save("main", b"one", 0, term)
        with pytest.raises(NotDelivered):
            await records.load("main")

    async def test_without_any_answer_the_outcome_stays_unknown(
        self, records: EtcdRecordStore, relay: Relay, term: Term, client: Client, keys: Keyspace
    ) -> None:
        await records.load("main")
        relay.lose_answers()
        with pytest.raises(OutcomeUnknown):
            await records.save("main", b"one", 0, term)
        stored = await client.get(keys.record("main"))
        assert stored is not None
        assert stored.value == b"one"  # it was stored indeed, once
        relay.heal()
        with pytest.raises(Conflict):
            await records.save("main", b"two", 0, term)

    async def test_a_request_lost_on_the_way_is_unknown_too(
        self, records: EtcdRecordStore, relay: Relay, term: Term, client: Client, keys: Keyspace
    ) -> None:
        await records.load("main")
        relay.lose_requests()
        with pytest.raises(OutcomeUnknown):
            await records.save("main", b"one", 0, term)
        assert await client.get(keys.record("main")) is None

    async def test_a_second_way_settles_what_the_first_one_lost(
        self, relay: Relay, term: Term, etcd: EtcdMember, keys: Keyspace, clock: BootClock
    ) -> None:
        client = Client([relay.address, etcd.address], clock=clock)
        try:
            records = EtcdRecordStore(client, keys, clock)
            await records.load("main")
            relay.lose_answers()
            revision = await records.save("main", b"one", 0, term)
            stored = await records.load("main")
            assert stored is not None
            assert stored.mod_revision == revision
        finally:
            await client.close()

    async def test_a_term_is_known_by_its_lease_too(
        self, client: Client, term: Term, keys: Keyspace, clock: BootClock
    ) -> None:
        """An etcd restored from a copy counts up again: another node's election may get the same create revision."""
        before = replace(term, lease_id=77)
        records, history = EtcdRecordStore(client, keys, clock), EtcdHistoryStore(client, keys, clock)
        with pytest.raises(LostLeadership):
            await records.save("main", b"one", 0, before)
        assert await records.load("main") is None
        assert await records.save("main", b"one", 0, term)
        await history.put(Shelf.INCIDENTS, "main", "1", b"first", term)
        with pytest.raises(LostLeadership):
            await history.put(Shelf.INCIDENTS, "main", "2", b"second", before)

    async def test_leadership_lost_meanwhile_is_told_as_that(
        self, relay: Relay, term: Term, client: Client, keys: Keyspace, clock: BootClock, etcd: EtcdMember
    ) -> None:
        second_way = Client([relay.address, etcd.address], clock=clock)
        try:
            records = EtcdRecordStore(second_way, keys, clock)
            await records.load("main")
            relay.lose_answers()
            await client.delete(term.key)
            with pytest.raises(LostLeadership):
                await records.save("main", b"one", 0, term)
        finally:
            await second_way.close()
