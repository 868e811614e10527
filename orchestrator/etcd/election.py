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
from orchestrator.etcd.keeping import NOT_OURS, Held, KeepingTimes, Over, is_ours, keep
from orchestrator.etcd.keyspace import Keyspace
from orchestrator.etcd.latest import Latest
from orchestrator.etcd.lease import Lease
from orchestrator.etcd.own_loop import OwnLoop
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
    show_every_ms: int = 100
    hung_after_ms: int = 1_500
    """How long our loop may not run before the lease is kept no more. Longer: a leader that hangs is replaced later, by
    as much. Shorter: a busy one is taken for one."""
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
        self._held: Held | None = None
        """The term's own, as its keeper sees it."""
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
        held, term = self._held, self.term
        return held.proof_sent_at if held is not None and held.term == term else None

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
        if not is_ours(found, term):
            self._lose(term, NOT_OURS)
        held = self._held
        if self.term != term or held is None:
            raise LostLeadership(f"term {term.create_revision} is over")
        held.proved(sent_at)
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
            async with OwnLoop("election") as beside:
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(self._ending_at_another_etcd(self._follow)),
                        group.create_task(self._ending_at_another_etcd(partial(self._take_part, beside))),
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
        if term is not None and not is_ours(found, term):
            self._lose(term, NOT_OURS)
        self._leadership.set(Leadership(self._term, None if found is None else _leader(found)))

    async def _take_part(self, beside: OwnLoop) -> None:
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
                await self._hold(term, beside)
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
        self._term = term
        self._held = Held(term, lease, proof_sent_at=sent_at, alive_at=self._clock.now())
        log.info("election.won", term=revision, name=self._name)
        leader = Leader(claim.name, claim.address, claim.since_wall_ms, revision)
        self._leadership.set(Leadership(term, leader))
        return term

    async def _hold(self, term: Term, beside: OwnLoop) -> None:
        """Lead until the term is over. `_lose` has told everybody by then."""
        held = self._held
        assert held is not None
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._ending_at_another_etcd(partial(self._keep, held, beside))),
                group.create_task(self._show_that_it_runs(held)),
                group.create_task(self._expire(held)),
            ]
            await self._lost.wait()
            for task in tasks:
                task.cancel()

    async def _keep(self, held: Held, beside: OwnLoop) -> None:
        """In the thread beside: what goes on here keeps neither beats nor proofs waiting."""
        times = self._times
        keeping = KeepingTimes(times.beat_every_ms, times.prove_every_ms, times.hung_after_ms)

        async def there() -> Over:
            client = self._client.twin()
            try:
                return await keep(held, client, self._clock, keeping)
            finally:
                await client.close()

        over = await beside.run(there())
        if isinstance(over, ClusterIdChanged):
            raise over
        self._lose(held.term, over)

    async def _show_that_it_runs(self, held: Held) -> None:
        while True:
            held.alive_at = self._clock.now()
            await asyncio.sleep(self._times.show_every_ms / 1000)

    async def _expire(self, held: Held) -> None:
        await held.lease.until_unsafe()
        self._lose(held.term, "the lease may have run out")

    def _lose(self, term: Term, reason: str) -> None:
        """Tell everybody at once; nothing is awaited first."""
        if self._term != term:
            return
        self._term, self._held = None, None
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


def _leader(found: KeyValue) -> Leader:
    try:
        claim = decode(found.value, _Claim)
    except ValueError:  # somebody leads, and it is not for us to say who
        claim = _Claim("unreadable", "", 0)
    return Leader(claim.name, claim.address, claim.since_wall_ms, found.create_revision)
