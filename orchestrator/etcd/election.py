"""The election of one shard: campaign, hold, prove, resign.

The election key is made in a transaction that demands its absence, under a lease; its create revision is the
term. Who leads is decided by etcd; *until when* we may believe it is decided by our own clock: when the lease
may have run out, the term ends, whatever any answer says or fails to say. A term that is over never comes
back: the next one has a new number.

Nothing here makes two leaders impossible in the mind of one; what makes an old leader harmless is that every
write compares the term (`swap`), and that what it grants rests on a proof (`prove`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import structlog

from common.clock import Clock
from common.codec import decode, encode
from common.errors import LostLeadership, NotDelivered, OutcomeUnknown, Refused
from common.timebase import Instant
from orchestrator.etcd.client import Client
from orchestrator.etcd.keyspace import Keyspace
from orchestrator.etcd.latest import Latest
from orchestrator.etcd.lease import Lease, LeaseGone
from orchestrator.etcd.transaction import KeyValue, created_at, get, key_values, put
from orchestrator.etcd.watch import Alive, Changes, Relist
from orchestrator.ports import ClusterIdChanged, Leader, Leadership, Shard, Term
from protos import etcd_pb2 as pb

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ElectionTimes:
    ttl_s: int = 3
    """Longer than an election inside etcd (about 1 s with --election-timeout 500, 2 s with the default),
    or every one of those costs us the leadership. A crashed leader is replaced this late."""
    margin_ms: int = 300
    """Taken off the lease: drift of two clocks over its length, and the time that stopping takes."""
    beat_every_ms: int = 500
    prove_every_ms: int = 300
    """Less than a third of V, so that a lost answer does not leave the leader without a proof."""
    retry_every_ms: int = 200


@dataclass(frozen=True, slots=True)
class _Claim:
    """The value of the election key."""

    name: str
    address: str
    since_wall_ms: int


class EtcdElection:
    def __init__(
        self,
        client: Client,
        keys: Keyspace,
        clock: Clock,
        *,
        shard: Shard,
        name: str,
        address: str,
        times: ElectionTimes | None = None,
    ) -> None:
        self._client, self._clock = client, clock
        self._key = keys.election(shard)
        self._name, self._address = name, address
        self._times = times or ElectionTimes()
        self._lease: Lease | None = None
        self._term: Term | None = None
        self._proof_sent_at: Instant | None = None
        self._leadership = Latest(Leadership(term=None, leader=None))
        self._vacant = asyncio.Event()
        self._lost = asyncio.Event()
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False
        self._failure: ClusterIdChanged | None = None

    # ---- what others ask ----

    @property
    def term(self) -> Term | None:
        # The clock is read here too: this task may not have run since the lease ran out.
        return self._term if self._lease is not None and self._lease.is_safe else None

    @property
    def proof_sent_at(self) -> Instant | None:
        return self._proof_sent_at if self.term is not None else None

    @property
    def current_leader(self) -> Leader | None:
        return self._leadership.value.leader

    def changes(self) -> AsyncIterator[Leadership]:
        return self._leadership.stream()

    async def leader(self) -> Leader | None:
        found = await self._client.get(self._key)
        return None if found is None else _leader(found)

    async def prove(self) -> Instant:
        term = self.term
        if term is None:
            raise LostLeadership("no term to prove")
        sent_at = self._clock.now()
        found = await self._client.get(self._key)
        if not _is_ours(found, term):
            self._lose(term, "the election key is not ours any more")
        if self.term != term:
            raise LostLeadership(f"term {term.create_revision} is over")
        self._proof_sent_at = max(sent_at, self._proof_sent_at or sent_at)
        return sent_at

    async def resign(self) -> None:
        if not self._running:
            return
        self._stop.set()
        if self._term is not None:
            self._lose(self._term, "resigned")
        await self._ended.wait()

    # ---- taking part ----

    async def run(self) -> None:
        # It may be run again after a resignation.
        self._stop.clear()
        self._ended.clear()
        self._failure = None
        self._running = True
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._ending_at_another_etcd(self._follow)),
                    group.create_task(self._ending_at_another_etcd(self._take_part)),
                ]
                await self._stop.wait()
                for task in tasks:
                    task.cancel()
            await self._give_back_lease()
        finally:
            if self._term is not None:
                self._lose(self._term, "stopped")
            self._running = False
            self._ended.set()
        if self._failure is not None:
            raise self._failure

    async def _ending_at_another_etcd(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except ClusterIdChanged as error:
            self._failure = error
            self._stop.set()
            if self._term is not None:
                self._lose(self._term, "another etcd answers")

    async def _follow(self) -> None:
        """Keep the newest holder of the key in view."""
        while True:
            try:
                answer = await self._client.range(pb.RangeRequest(key=self._key.encode()))
                found = key_values(answer.kvs)
                self._saw(found[0] if found else None, as_of=answer.header.revision)
                async with aclosing(
                    self._client.watch(self._key, start_revision=answer.header.revision + 1)
                ) as events:
                    async for event in events:
                        match event:
                            case Changes(changes):
                                self._saw(changes[-1].now, as_of=changes[-1].revision)
                            case Alive():
                                pass
                            case Relist(reason=reason):
                                log.info("election.listed_anew", reason=reason)
                                break
            except ClusterIdChanged:
                raise
            except (NotDelivered, Refused) as error:
                log.warning("election.watch_interrupted", error=str(error))
                await asyncio.sleep(self._times.retry_every_ms / 1000)

    def _saw(self, found: KeyValue | None, *, as_of: int) -> None:
        term = self._term
        if term is not None and as_of <= term.create_revision:
            return  # older than our own victory
        if found is None:
            self._vacant.set()
        else:
            self._vacant.clear()
        if term is not None and not _is_ours(found, term):
            self._lose(term, "the election key is not ours any more")
        self._leadership.set(Leadership(self._term, None if found is None else _leader(found)))

    async def _take_part(self) -> None:
        while True:
            await self._vacant.wait()
            try:
                term = await self._campaign()
            except ClusterIdChanged:
                raise
            except (NotDelivered, OutcomeUnknown, Refused) as error:
                log.warning("election.campaign_failed", error=str(error))
                await self._give_back_lease()
                await asyncio.sleep(self._times.retry_every_ms / 1000)
                continue
            if term is not None:
                await self._hold(term)
            await self._give_back_lease()

    async def _campaign(self) -> Term | None:
        """Try once; None when somebody else holds the key."""
        times = self._times
        lease = await Lease.grant(self._client, self._clock, ttl_s=times.ttl_s, margin_ms=times.margin_ms)
        self._lease = lease
        claim = _Claim(self._name, self._address, self._clock.wall_ms())
        sent_at = self._clock.now()
        try:
            result = await self._client.transaction(
                [created_at(self._key, 0)], [put(self._key, encode(claim), lease.id)], [get(self._key)]
            )
        except OutcomeUnknown:
            # If it landed, the key carries our lease. If not, it may still land: giving the lease back
            # stops it, because a put under a lease that does not exist is refused.
            sent_at = self._clock.now()
            found = await self._client.get(self._key)
            if found is None or found.lease_id != lease.id:
                raise
            revision = found.create_revision
        else:
            if not result.succeeded:
                holder = result.ranges[0]
                self._saw(holder[0] if holder else None, as_of=result.revision)
                return None
            revision = result.revision
        term = Term(create_revision=revision, key=self._key, lease_id=lease.id)
        self._vacant.clear()
        self._lost = asyncio.Event()
        self._term, self._proof_sent_at = term, sent_at
        log.info("election.won", term=revision, name=self._name)
        leader = Leader(claim.name, claim.address, claim.since_wall_ms, revision)
        self._leadership.set(Leadership(term, leader))
        return term

    async def _hold(self, term: Term) -> None:
        """Lead until the term is over. `_lose` has told everybody by then."""
        lease = self._lease
        assert lease is not None
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._ending_at_another_etcd(partial(self._keep, term, lease))),
                group.create_task(self._ending_at_another_etcd(partial(self._renew_proof, term))),
                group.create_task(self._expire(term, lease)),
            ]
            await self._lost.wait()
            for task in tasks:
                task.cancel()

    async def _keep(self, term: Term, lease: Lease) -> None:
        try:
            await lease.keep(self._times.beat_every_ms)
        except LeaseGone:
            self._lose(term, "etcd does not know the lease any more")

    async def _expire(self, term: Term, lease: Lease) -> None:
        await lease.until_unsafe()
        self._lose(term, "the lease may have run out")

    async def _renew_proof(self, term: Term) -> None:
        while self._term == term:
            await asyncio.sleep(self._times.prove_every_ms / 1000)
            try:
                await self.prove()
            except LostLeadership:
                return
            except ClusterIdChanged:
                raise
            except (NotDelivered, Refused):
                continue  # the proof grows old, and those who need a young one see that

    def _lose(self, term: Term, reason: str) -> None:
        """Tell everybody at once; nothing is awaited first."""
        if self._term != term:
            return
        self._term, self._proof_sent_at = None, None
        log.warning("election.lost", term=term.create_revision, reason=reason)
        leader = self._leadership.value.leader
        ours = leader is not None and leader.term == term.create_revision
        self._leadership.set(Leadership(None, None if ours else leader))
        self._lost.set()

    async def _give_back_lease(self) -> None:
        """So that the others need not wait for it to run out."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            await lease.revoke()
        except ClusterIdChanged:
            raise
        except (NotDelivered, Refused) as error:
            log.warning("election.lease_not_given_back", error=str(error))


def _is_ours(found: KeyValue | None, term: Term) -> bool:
    """By the lease too: an etcd restored from a copy counts up again, and may give a revision twice."""
    return found is not None and (found.create_revision, found.lease_id) == (
        term.create_revision,
        term.lease_id,
    )


def _leader(found: KeyValue) -> Leader:
    try:
        claim = decode(found.value, _Claim)
    except ValueError:  # somebody leads, and it is not for us to say who
        claim = _Claim("unreadable", "", 0)
    return Leader(claim.name, claim.address, claim.since_wall_ms, found.create_revision)
