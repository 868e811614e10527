"""A thin client of etcd: which member to ask, how long to wait, what may be asked twice.

The client stays with one member until that one fails a call, then turns to the next. Reads, and requests
that do no harm when they happen twice, are asked again elsewhere within a total deadline. A write is handed
over once: before that it may go to another member (`NotDelivered` when none can be reached), after that its
fate is known, or `OutcomeUnknown`. What to do then is decided where the meaning of the write is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import grpc
import grpc.aio

from common.clock import Clock
from common.errors import BadConfig, FailoverError, NotDelivered, OutcomeUnknown, Refused
from common.resilience import POLICIES
from common.timebase import Instant, after_ms
from orchestrator.etcd import translate
from orchestrator.etcd.endpoint import Endpoint, Tls
from orchestrator.etcd.transaction import (
    KeyValue,
    Listing,
    TransactionResult,
    key_values,
    prefix_end,
    transaction_result,
)
from orchestrator.etcd.watch import ENDED_WHILE_WE_WROTE, WatchEvent, watch
from orchestrator.ports import ClusterIdChanged
from protos import etcd_pb2 as pb

GETS_AT_ONCE = 64
"""Reads in one transaction: etcd takes 128 operations; with the largest bodies the answer is 4 MiB."""
_PAGE = 256
"""Keys read at once: with the largest bodies a page stays below what the channel receives."""


@dataclass(frozen=True, slots=True)
class CallTimes:
    connect_within_ms: int = POLICIES["etcd.connect"].timeout_ms
    """Waiting for one member's channel; then the next member is tried."""
    call_within_ms: int = POLICIES["etcd.write"].timeout_ms
    """One call to one member. Shorter: a busy disk of etcd looks like a dead member. Longer: a frozen one
    holds us up for longer before the next is asked."""
    total_within_ms: int = POLICIES["etcd.request"].timeout_ms
    """A request with all its attempts. Longer than an election inside etcd (about 1 s), to ride that out."""
    watch_for_ms: int = 3_000
    """A watch stream is opened anew this often: a frozen or cut-off member is noticed that late at most."""
    pause_ms: int = 20


@dataclass(frozen=True, slots=True)
class Login:
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Granted:
    lease_id: int
    ttl_s: int
    sent_at: Instant
    """When the request was sent that was answered: the lease can't end before this plus its time to live."""


@dataclass(frozen=True, slots=True)
class MemberStatus:
    version: str
    leader_id: int
    db_bytes: int
    raft_term: int


@dataclass(frozen=True, slots=True)
class EtcdMember:
    id: int
    name: str
    client_urls: tuple[str, ...]


class _Answer(Protocol):
    @property
    def header(self) -> pb.ResponseHeader: ...


Request = TypeVar("Request")
Answer = TypeVar("Answer", bound=_Answer)
Result = TypeVar("Result")
Pick = Callable[[Endpoint], "grpc.aio.UnaryUnaryMultiCallable[Request, Answer]"]


class Client:
    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        clock: Clock,
        tls: Tls | None = None,
        login: Login | None = None,
        times: CallTimes | None = None,
        cluster_id: int | None = None,
    ) -> None:
        """Connects to nothing yet. `cluster_id`: the one that must answer, if it is known from before."""
        if not endpoints:
            raise BadConfig(["etcd endpoints: at least one is needed"])
        self._endpoints = tuple(Endpoint(address, tls) for address in endpoints)
        self._tls = tls
        self._at = 0
        self._clock = clock
        self._login = login
        self._token: str | None = None
        self._cluster_id = cluster_id
        self.times = times or CallTimes()

    def twin(self) -> Client:
        """Another one with connections of its own, for another loop: make it, use it and close it there."""
        return Client(
            self.addresses,
            clock=self._clock,
            tls=self._tls,
            login=self._login,
            times=self.times,
            cluster_id=self._cluster_id,
        )

    async def close(self) -> None:
        for endpoint in self._endpoints:
            await endpoint.close()

    @property
    def cluster_id(self) -> int | None:
        """Of the etcd that answers; checked at every answer. None before the first."""
        return self._cluster_id

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(endpoint.address for endpoint in self._endpoints)

    # ---- keys ----

    async def get(self, key: str) -> KeyValue | None:
        """Linearizable, as all reads here."""
        response = await self.range(pb.RangeRequest(key=key.encode()))
        return key_values(response.kvs)[0] if response.kvs else None

    async def get_many(self, keys: Sequence[str], *, revision: int = 0) -> tuple[KeyValue | None, ...]:
        """All as of one revision (0: the newest), in this order; at most GETS_AT_ONCE."""
        reads = [
            pb.RequestOp(request_range=pb.RangeRequest(key=key.encode(), revision=revision)) for key in keys
        ]
        response = await self._again(self._unary(lambda endpoint: endpoint.txn, pb.TxnRequest(success=reads)))
        return tuple(found[0] if found else None for found in transaction_result(response).ranges)

    async def get_prefix(self, prefix: str) -> Listing:
        """All of one revision, read page by page."""
        start, end, revision = prefix.encode(), prefix_end(prefix), 0
        found: list[KeyValue] = []
        while True:
            response = await self.range(
                pb.RangeRequest(key=start, range_end=end, limit=_PAGE, revision=revision)
            )
            found += key_values(response.kvs)
            revision = revision or response.header.revision
            if not response.more:
                return Listing(revision, tuple(found))
            start = response.kvs[-1].key + b"\0"

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        return await self._again(self._unary(lambda endpoint: endpoint.range, request))

    async def put(self, key: str, value: bytes, lease_id: int = 0) -> int:
        """Unconditional; return the revision."""
        request = pb.PutRequest(key=key.encode(), value=value, lease=lease_id)
        response = await self._once(self._unary(lambda endpoint: endpoint.put, request))
        return response.header.revision

    async def delete(self, key: str) -> bool:
        """Whether there was something to delete."""
        request = pb.DeleteRangeRequest(key=key.encode())
        response = await self._once(self._unary(lambda endpoint: endpoint.delete_range, request))
        return response.deleted > 0

    async def transaction(
        self,
        compare: Sequence[pb.Compare],
        success: Sequence[pb.RequestOp],
        failure: Sequence[pb.RequestOp] = (),
    ) -> TransactionResult:
        request = pb.TxnRequest(compare=compare, success=success, failure=failure)
        return transaction_result(await self._once(self._unary(lambda endpoint: endpoint.txn, request)))

    def watch(
        self, key: str, *, start_revision: int, prefix: bool = False
    ) -> AsyncGenerator[WatchEvent, None]:
        """See `watch.watch`. Close the iterator (`contextlib.aclosing`)."""
        return watch(self, key, prefix_end(key) if prefix else b"", start_revision)

    # ---- leases ----

    async def lease_grant(self, ttl_s: int) -> Granted:
        """May be asked twice: a lease that nobody knows of runs out by itself."""
        request = pb.LeaseGrantRequest(TTL=ttl_s)

        async def attempt(endpoint: Endpoint, timeout_s: float) -> Granted:
            sent_at = self._clock.now()
            answer = await self._unary(lambda of: of.lease_grant, request)(endpoint, timeout_s)
            return Granted(answer.ID, answer.TTL, sent_at)

        return await self._again(attempt)

    async def lease_keep_alive(self, lease_id: int) -> Granted:
        """One beat: a short stream with a deadline, which can't hang. `ttl_s` 0: there is no such lease."""

        async def attempt(endpoint: Endpoint, timeout_s: float) -> Granted:
            metadata = await self.metadata(endpoint)
            sent_at = self._clock.now()
            call = endpoint.lease_keep_alive(timeout=timeout_s, metadata=metadata)
            try:
                await call.write(pb.LeaseKeepAliveRequest(ID=lease_id))
                await call.done_writing()
                answer = await call.read()
            except ENDED_WHILE_WE_WROTE as error:
                raise NotDelivered(f"etcd {endpoint.address}: keep-alive stream ended") from error
            finally:
                call.cancel()
            if not isinstance(answer, pb.LeaseKeepAliveResponse):
                raise NotDelivered(f"etcd {endpoint.address}: keep-alive stream ended without an answer")
            self.check(answer.header)
            return Granted(lease_id, max(0, answer.TTL), sent_at)

        return await self._again(attempt)

    async def lease_revoke(self, lease_id: int) -> None:
        """The lease is gone afterwards, and its keys with it; also when it was gone before."""
        request = pb.LeaseRevokeRequest(ID=lease_id)

        async def attempt(endpoint: Endpoint, timeout_s: float) -> None:
            try:
                await self._unary(lambda of: of.lease_revoke, request)(endpoint, timeout_s)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise

        await self._again(attempt)

    # ---- the cluster ----

    async def status(self) -> MemberStatus:
        """Of the member that we stay with."""
        answer = await self._again(self._unary(lambda endpoint: endpoint.status, pb.StatusRequest()))
        return MemberStatus(answer.version, answer.leader, answer.dbSize, answer.raftTerm)

    async def member_list(self) -> tuple[EtcdMember, ...]:
        request = pb.MemberListRequest(linearizable=True)
        answer = await self._again(self._unary(lambda endpoint: endpoint.member_list, request))
        return tuple(EtcdMember(one.ID, one.name, tuple(one.clientURLs)) for one in answer.members)

    # ---- for this package ----

    @property
    def endpoint(self) -> Endpoint:
        return self._endpoints[self._at]

    def rotate(self, away_from: Endpoint) -> None:
        """Turn to the next member, unless somebody else's failure has done so already."""
        if away_from is self.endpoint:
            self._at = (self._at + 1) % len(self._endpoints)

    def check(self, header: pb.ResponseHeader) -> None:
        if self._cluster_id is None:
            self._cluster_id = header.cluster_id
        elif header.cluster_id != self._cluster_id:
            raise ClusterIdChanged(known=self._cluster_id, answered=header.cluster_id)

    async def metadata(self, endpoint: Endpoint) -> tuple[tuple[str, str], ...]:
        """The login token; raise NotDelivered (nothing of the caller's has been sent) or Refused."""
        if self._login is None:
            return ()
        if self._token is None:
            request = pb.AuthenticateRequest(name=self._login.user, password=self._login.password)
            try:
                answer = await endpoint.authenticate(request, timeout=self.times.call_within_ms / 1000)
            except grpc.aio.AioRpcError as error:
                raise translate.of_read(error, endpoint.address) from error
            self._token = answer.token
        return (("token", self._token),)

    # ---- attempts ----

    def _unary(
        self, pick: Pick[Request, Answer], request: Request
    ) -> Callable[[Endpoint, float], Awaitable[Answer]]:
        async def attempt(endpoint: Endpoint, timeout_s: float) -> Answer:
            metadata = await self.metadata(endpoint)
            try:
                answer = await pick(endpoint)(request, timeout=timeout_s, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if self._login is None or not translate.wants_new_token(error):
                    raise
                self._token = None
                metadata = await self.metadata(endpoint)
                answer = await pick(endpoint)(request, timeout=timeout_s, metadata=metadata)
            self.check(answer.header)
            return answer

        return attempt

    async def _again(self, attempt: Callable[[Endpoint, float], Awaitable[Result]]) -> Result:
        """For what may happen twice: ask member after member until the total deadline."""
        until = after_ms(self._clock.now(), self.times.total_within_ms)
        failures = 0
        while True:
            endpoint = self.endpoint
            try:
                return await self._hand_over(endpoint, attempt, until)
            except NotDelivered as error:
                failed: FailoverError = error
            except grpc.aio.AioRpcError as error:
                failed = translate.of_read(error, endpoint.address)
                if isinstance(failed, Refused):
                    raise failed from error
            self.rotate(endpoint)
            failures += 1
            if self._clock.now() >= until:
                raise NotDelivered(f"no answer from etcd in time: {failed}") from failed
            if failures % len(self._endpoints) == 0:
                await asyncio.sleep(self.times.pause_ms / 1000)

    async def _once(self, attempt: Callable[[Endpoint, float], Awaitable[Result]]) -> Result:
        """For a write: look for a member until it can be handed over, then never again."""
        until = after_ms(self._clock.now(), self.times.total_within_ms)
        failures = 0
        while True:
            endpoint = self.endpoint
            try:
                return await self._hand_over(endpoint, attempt, until)
            except NotDelivered as error:
                self.rotate(endpoint)
                failures += 1
                if self._clock.now() >= until:
                    raise NotDelivered(f"no member of etcd could be reached: {error}") from error
                if failures % len(self._endpoints) == 0:
                    await asyncio.sleep(self.times.pause_ms / 1000)
            except grpc.aio.AioRpcError as error:
                failed = translate.of_write(error, endpoint.address)
                if isinstance(failed, OutcomeUnknown):
                    self.rotate(endpoint)
                raise failed from error

    async def _hand_over(
        self, endpoint: Endpoint, attempt: Callable[[Endpoint, float], Awaitable[Result]], until: Instant
    ) -> Result:
        now = self._clock.now()
        connect_until = min(until, after_ms(now, self.times.connect_within_ms))
        if not await endpoint.ready(self._clock, connect_until):
            raise NotDelivered(f"etcd {endpoint.address}: no connection")
        # The last attempt begins before `until` and may end after it, by one call's deadline at most.
        return await attempt(endpoint, self.times.call_within_ms / 1000)
