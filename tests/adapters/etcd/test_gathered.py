"""Reads that are asked for at about the same time are one request, and none of them is older than its question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from common.clock import BootClock
from common.errors import NotDelivered
from orchestrator.etcd.client import GETS_AT_ONCE, Client
from orchestrator.etcd.gathered import GatheredReads
from orchestrator.etcd.keyspace import Keyspace
from orchestrator.etcd.transaction import KeyValue
from tests.adapters.etcd.relay import Relay
from tests.adapters.etcd.scratch_etcd import EtcdMember

pytestmark = pytest.mark.real


class CountingClient(Client):
    """`gate`: answers are held back until it is set."""

    requests = 0
    gate: asyncio.Event | None = None

    async def get_many(self, keys: Sequence[str], *, revision: int = 0) -> tuple[KeyValue | None, ...]:
        self.requests += 1
        found = await super().get_many(keys, revision=revision)
        if self.gate is not None:
            await self.gate.wait()
        return found


@pytest.fixture
async def counting(etcd: EtcdMember, clock: BootClock) -> AsyncIterator[CountingClient]:
    client = CountingClient([etcd.address], clock=clock)
    yield client
    await client.close()


async def test_many_reads_at_once_are_few_requests_and_each_has_its_own_answer(
    counting: CountingClient, keys: Keyspace
) -> None:
    names = [f"{keys.prefix}{number:03}" for number in range(3 * GETS_AT_ONCE)]
    for name in names[::2]:
        await counting.put(name, name.encode())
    reads = GatheredReads(counting)
    found = await asyncio.gather(*(reads.get(name) for name in names))
    assert [None if kv is None else kv.value for kv in found] == [
        name.encode() if place % 2 == 0 else None for place, name in enumerate(names)
    ]
    assert counting.requests <= 4


async def test_a_read_is_never_answered_by_a_request_that_was_sent_before_it(
    counting: CountingClient, keys: Keyspace
) -> None:
    key, reads = f"{keys.prefix}a", GatheredReads(counting)
    await counting.put(key, b"old")
    counting.gate = asyncio.Event()
    first = asyncio.ensure_future(reads.get(key))
    while not counting.requests:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    await counting.put(key, b"new")
    second = asyncio.ensure_future(reads.get(key))
    await asyncio.sleep(0.01)
    counting.gate.set()
    assert [kv.value for kv in await asyncio.gather(first, second) if kv is not None] == [b"old", b"new"]


async def test_who_carries_and_is_cancelled_leaves_the_others_their_answers(
    counting: CountingClient, keys: Keyspace
) -> None:
    key, reads = f"{keys.prefix}a", GatheredReads(counting)
    await counting.put(key, b"x")
    counting.gate = asyncio.Event()
    carrier, other = (asyncio.ensure_future(reads.get(key)) for _ in range(2))
    while not counting.requests:
        await asyncio.sleep(0.001)
    carrier.cancel()
    await asyncio.sleep(0.01)
    counting.gate.set()
    async with asyncio.timeout(5):
        found = await other
    assert found is not None
    assert carrier.cancelled()
    assert counting.requests == 2


async def test_where_nobody_answers_everybody_is_told(
    relay: Relay, relayed_client: Client, keys: Keyspace
) -> None:
    relay.refuse()
    reads = GatheredReads(relayed_client)
    answers = await asyncio.gather(
        *(reads.get(f"{keys.prefix}{name}") for name in "abc"), return_exceptions=True
    )
    assert all(isinstance(answer, NotDelivered) for answer in answers)
