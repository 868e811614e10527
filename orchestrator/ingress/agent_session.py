"""`Agents.Session`: facts up, assignments down, one stream for each agent, at the leader only.

The certificate must name the member that the Hello names. Facts and beats are put into the inbox at once.
What is sent down is chosen by `egress.assignments`; this only writes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

import grpc
import grpc.aio
import structlog

from common.addresses import plain_address
from common.assignment import Version
from common.clock import Clock
from common.codec import decode
from common.datagram import BeatFrame, Flags, Header
from common.errors import FailoverError
from common.facts import Facts
from common.ids import ClusterName, IncarnationId, MemberName, incarnation_id
from common.lsn import Lsn
from common.timebase import Instant, elapsed_ms
from orchestrator.core.events import BeatHeard, FactsHeard, StreamLost
from orchestrator.ingress.heard import SPOKEN_FOR_MS, Heard, beat_of
from orchestrator.ingress.heartbeat_udp import Acknowledge
from orchestrator.ingress.identity import Identity, Kind, of_call
from protos import agent_pb2, beat_pb2

log = structlog.get_logger()

PROTOCOL_VERSION = 1
HELLO_WITHIN_S = 5.0
WRITE_WITHIN_S = 5.0
"""An agent that does not read for so long is gone, or will come back with a new stream."""
LEADER_KEY = "primacy-leader"
_UNKNOWN = 0xFFFFFFFF

Context = grpc.aio.ServicerContext[agent_pb2.Up, agent_pb2.Down]
Event = FactsHeard | BeatHeard | StreamLost


class Stream(Protocol):
    """As `egress.assignments.Stream`."""

    ended: asyncio.Event

    def heard(self, incarnation: IncarnationId, obeyed: Version) -> None: ...

    async def next_order(self) -> bytes: ...


class Streams(Protocol):
    def open(self, cluster: ClusterName, member: MemberName, incarnation: IncarnationId) -> Any: ...

    def close(self, stream: Any) -> bool: ...


class Leads(Protocol):
    """What a session needs to know of leadership."""

    @property
    def leads(self) -> bool: ...

    @property
    def leader_address(self) -> str:
        """`host:port` of who leads as far as we know; empty: nobody."""
        ...


class Welcomes(Protocol):
    """As `shell.welcomes.Welcomes`."""

    def wanted(self, cluster: ClusterName, member: MemberName) -> Any: ...

    def welcome(self, wanted: Any) -> agent_pb2.Welcome: ...


@dataclass(slots=True)
class _Speaker:
    """Whoever has the newest stream of a member."""

    host: str
    heard_at: Instant


class _Ended(FailoverError):
    """The session is over; the status and words are the agent's to see."""

    def __init__(self, code: grpc.StatusCode, words: str) -> None:
        self.code, self.words = code, words
        super().__init__(words)


class AgentSessions:
    """The servicer of `primacy.v1.Agents`."""

    def __init__(
        self,
        *,
        clock: Clock,
        heard: Heard,
        put: Callable[[ClusterName, Event], object],
        streams: Streams,
        leads: Leads,
        welcomes: Welcomes,
        acknowledge: Acknowledge,
        counted: Callable[[str], None],
    ) -> None:
        self._clock, self._heard, self._put = clock, heard, put
        self._streams, self._leads, self._acknowledge = streams, leads, acknowledge
        self._counted, self._welcomes = counted, welcomes
        self._speakers: dict[tuple[ClusterName, MemberName], _Speaker] = {}

    async def Session(self, _requests: Any, context: Context) -> None:
        try:
            await self._serve(context)
        except _Ended as end:
            metadata: tuple[tuple[str, str], ...] = ()
            if end.code is grpc.StatusCode.FAILED_PRECONDITION:
                metadata = ((LEADER_KEY, self._leads.leader_address),)
            await context.abort(end.code, end.words, metadata)

    async def _serve(self, context: Context) -> None:
        identity = of_call(context)
        if identity is None or identity.kind is not Kind.AGENT:
            self._counted("wrong_certificate")
            raise _Ended(
                grpc.StatusCode.PERMISSION_DENIED, f"an agent's certificate is wanted, not {identity}"
            )
        if not self._leads.leads:
            raise _Ended(grpc.StatusCode.FAILED_PRECONDITION, "this control node does not lead")
        cluster, member, incarnation = await self._hello(context, identity)
        speaker = self._speak(cluster, member, context.peer())
        stream = self._streams.open(cluster, member, incarnation)
        log.info("session.opened", cluster=cluster, member=member, incarnation=incarnation)
        try:
            told = self._welcomes.wanted(cluster, member)
            await context.write(agent_pb2.Down(welcome=self._welcomes.welcome(told)))
            await self._both_ways(context, cluster, member, stream, told, speaker)
        finally:
            if self._speakers.get((cluster, member)) is speaker:
                del self._speakers[cluster, member]
            if self._streams.close(stream):
                self._put(cluster, StreamLost(self._clock.now(), member))
            log.info("session.closed", cluster=cluster, member=member)
        if not self._leads.leads:
            raise _Ended(grpc.StatusCode.FAILED_PRECONDITION, "this control node leads no more")

    def _speak(self, cluster: ClusterName, member: MemberName, peer: str) -> _Speaker:
        """Two agents that have one name would end each other's streams, and be adopted in turn. A member whose host
        was lost and came back under another address is let in once its old stream was silent for so long."""
        at, host = self._clock.now(), host_of(peer)
        known, named = self._speakers.get((cluster, member)), self._heard.find(cluster, member)
        is_named = named is not None and host in named.addresses
        if known is not None and known.host != host and not is_named:
            silent_ms = elapsed_ms(since=known.heard_at, now=at)
            if silent_ms < SPOKEN_FOR_MS:
                self._counted("second_agent")
                raise _Ended(
                    grpc.StatusCode.ALREADY_EXISTS,
                    f"another agent speaks as {member} of {cluster}, from {known.host}, heard {silent_ms} ms ago: "
                    "give this one a member's name of its own",
                )
        speaker = self._speakers[cluster, member] = _Speaker(host, at)
        return speaker

    async def _hello(
        self, context: Context, identity: Identity
    ) -> tuple[ClusterName, MemberName, IncarnationId]:
        try:
            async with asyncio.timeout(HELLO_WITHIN_S):
                first: object = await context.read()
        except TimeoutError as late:
            raise _Ended(grpc.StatusCode.DEADLINE_EXCEEDED, "no Hello came") from late
        if not isinstance(first, agent_pb2.Up) or first.WhichOneof("what") != "hello":
            raise _Ended(grpc.StatusCode.INVALID_ARGUMENT, "the first message must be a Hello")
        hello = first.hello
        if hello.version != PROTOCOL_VERSION:
            raise _Ended(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the agent speaks version {hello.version}, this control node {PROTOCOL_VERSION}",
            )
        if identity.name != f"{hello.cluster}/{hello.member}":
            self._counted("wrong_certificate")
            raise _Ended(
                grpc.StatusCode.PERMISSION_DENIED,
                f"the certificate says {identity}, the Hello agent:{hello.cluster}/{hello.member}",
            )
        if self._heard.find(hello.cluster, hello.member) is None:
            self._counted("unknown_member")
            raise _Ended(
                grpc.StatusCode.NOT_FOUND,
                f"no member {hello.member!r} of cluster {hello.cluster!r} is known: primacy cluster apply",
            )
        try:
            incarnation = incarnation_id(hello.incarnation)
        except ValueError as error:
            raise _Ended(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        return ClusterName(hello.cluster), MemberName(hello.member), incarnation

    async def _both_ways(
        self,
        context: Context,
        cluster: ClusterName,
        member: MemberName,
        stream: Stream,
        told: Any,
        speaker: _Speaker,
    ) -> None:
        """Until either side ends it, or a newer session, or the end of our leadership. `told`: what the agent
        was welcomed with; what is changed is told at the next report, which comes once a second."""
        one_at_a_time = asyncio.Lock()

        async def write(down: agent_pb2.Down) -> None:
            async with one_at_a_time, asyncio.timeout(WRITE_WITHIN_S):
                await context.write(down)

        async def read_all() -> None:
            keeps_to = told
            while isinstance(up := await context.read(), agent_pb2.Up):
                speaker.heard_at = self._clock.now()
                ack = self._receive(up, cluster, member, stream)
                if ack is not None:
                    await write(agent_pb2.Down(ack=ack))
                newest = self._welcomes.wanted(cluster, member)
                if newest != keeps_to:
                    keeps_to = newest
                    await write(agent_pb2.Down(welcome=self._welcomes.welcome(newest)))

        async def write_all() -> None:
            while True:
                await write(agent_pb2.Down(assignment=await stream.next_order()))

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_quietly(read_all())),
                group.create_task(_quietly(write_all())),
                group.create_task(stream.ended.wait()),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        for task in done:
            ended = task.result()
            if isinstance(ended, _Ended):
                raise ended

    def _receive(
        self, up: agent_pb2.Up, cluster: ClusterName, member: MemberName, stream: Stream
    ) -> beat_pb2.Ack | None:
        at = self._clock.now()
        match up.WhichOneof("what"):
            case "facts":
                try:
                    facts = decode(up.facts, Facts)
                except ValueError as error:
                    self._counted("bad_facts")
                    raise _Ended(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
                if (facts.cluster, facts.member) != (cluster, member):
                    self._counted("bad_facts")
                    raise _Ended(grpc.StatusCode.PERMISSION_DENIED, "facts of another member")
                stream.heard(facts.incarnation, facts.obeyed)
                self._put(cluster, FactsHeard(at, facts))
                return None
            case "beat":
                frame = _frame(up.beat)
                known = self._heard.find(cluster, member)
                if known is None:
                    return None
                known.heard(at, boot_id=up.beat.boot_id, sequence=up.beat.sequence, flags=frame.flags)
                self._counted("over_stream")
                self._put(cluster, BeatHeard(at, beat_of(frame, member)))
                words = self._acknowledge(cluster, member, frame.obeyed.epoch)
                return beat_pb2.Ack(
                    sequence=up.beat.sequence,
                    sent_us=up.beat.sent_us,
                    leader=words.leader,
                    term=words.term,
                    epoch=words.epoch,
                    lease_ms=words.lease_ms,
                )
            case other:
                raise _Ended(grpc.StatusCode.INVALID_ARGUMENT, f"unexpected {other}")


def host_of(peer: str) -> str:
    """The address in what grpc calls a peer: `ipv4:10.0.0.1:5000`, `ipv6:%5B::1%5D:5000`, `unix:`."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return peer
    return plain_address(unquote(rest.rpartition(":")[0]).strip("[]").partition("%")[0])


async def _quietly(work: Any) -> _Ended | None:
    """How a session ends is a value; only what nobody foresaw is an exception."""
    try:
        await work
    except _Ended as end:
        return end
    except (grpc.aio.UsageError, grpc.aio.InternalError, grpc.RpcError, TimeoutError) as gone:
        log.info("session.broke", error=repr(gone))
    return None


def _frame(beat: beat_pb2.Beat) -> BeatFrame:
    """What the datagram would have said."""
    return BeatFrame(
        Header(0, 0, beat.boot_id, beat.sequence, beat.sent_us),
        Version(beat.obeyed_epoch, beat.obeyed_revision),
        IncarnationId(beat.incarnation),
        str(beat.system_identifier) if beat.system_identifier else "",
        Flags.from_int(beat.flags),
        beat.timeline,
        Lsn(beat.flushed_lsn),
        Lsn(beat.replayed_lsn),
        Lsn(beat.insert_lsn),
        _known(beat.oldest_voter_reply_age_ms),
        _known(beat.write_age_ms),
        _known(beat.received_age_ms),
        _known(beat.free_mib),
    )


def _known(value: int) -> int | None:
    return None if value == _UNKNOWN else value
