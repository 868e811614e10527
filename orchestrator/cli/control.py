"""Asking the control nodes: each in its order, then the one that leads; a lost one is replaced by the next.

The adapter of `operator.proto`: nothing above it sees gRPC. What it raises says what the caller may do:
BadConfig (the request itself is wrong), Refused (nothing was changed), NotDelivered (nobody could be asked),
OutcomeUnknown (somebody was asked, and fell silent).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

# gRPC's own log lines would stand between ours; what they say reaches us as a status.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio

from common.clock import BootClock
from common.errors import BadConfig, NotDelivered, OutcomeUnknown, Refused
from common.timebase import Instant
from orchestrator.cli.context import Connection
from orchestrator.cli.grpc_words import Verdict, leader_of, may_have_begun, mistakes_of, verdict_of, why
from protos import operator_pb2 as pb
from protos.operator_pb2_grpc import OperatorStub

CONNECT_WITHIN_S = 1.0
ANSWER_WITHIN_S = 5.0
LEADER_WITHIN_MS = 10_000
"""How long an election is waited for: etcd's own, and then the control nodes'."""
WATCH_SILENT_S = 3.0
"""A watch speaks every second, so a node that is silent for longer is frozen or cut off."""
STREAM_WITHIN_S = 86_400.0
ROUND_PAUSE_S = 0.25
REDIRECTS_MAX = 3


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about the way to the control nodes that people want to know; not an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, and who gave it."""

    address: str
    reply: Any
    asked_before: bool = False
    """An earlier answer was lost: what was asked may have been done then."""


class Broke(OutcomeUnknown):
    """It answered with a failure of its own, which asking again would not mend."""


Tell = Callable[[str], None]
Pick = Callable[[OperatorStub], Any]
"""Which method of the stub is meant."""


class ControlNodes:
    """All control nodes of a fleet, as one. An async context manager; closes its channels at the end."""

    def __init__(self, connection: Connection, tell: Tell) -> None:
        self._addresses = list(connection.control)
        self._tell = tell
        self._clock = BootClock()
        self._credentials = grpc.ssl_channel_credentials(
            connection.authority, connection.key, connection.certificate
        )
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._best: str | None = None
        """Who answered last: asked first the next time."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels.values():
            await channel.close()

    async def ask(
        self, pick: Pick, request: Any, *, within_s: float = ANSWER_WITHIN_S, changes: bool = False
    ) -> Answer:
        """One question, one answer; asked again of the next node where the last one was lost: only for
        what may be asked twice. `changes`: then a lost answer is an unknown outcome."""

        async def once(stub: OperatorStub) -> Any:
            return await pick(stub)(request, timeout=within_s)

        return await self._rounds(once, changes=changes)

    async def open(self, pick: Pick, request: Any, *, changes: bool) -> tuple[str, Stream]:
        """A stream at a node that answers. Errors of the stream itself appear when it is read.
        `changes`: then a lost answer is an unknown outcome."""

        async def begin(stub: OperatorStub) -> Stream:
            stream = Stream(pick(stub)(request, timeout=STREAM_WITHIN_S))
            # A node that does not lead says so before it says anything else.
            await stream.begun(ANSWER_WITHIN_S)
            return stream

        answer = await self._rounds(begin, changes=changes)
        return answer.address, answer.reply

    def doubt(self, address: str) -> None:
        """It fell silent: the others come first from now on."""
        if address in self._addresses:
            self._addresses.remove(address)
            self._addresses.append(address)
        if self._best == address:
            self._best = None

    async def alive(self, address: str, cluster: str) -> bytes | None:
        """The cluster's status from this very node, or None: for a stream that has been silent long."""
        try:
            stub = OperatorStub(self._channel(address))
            reply = await stub.Status(pb.StatusRequest(cluster=cluster), timeout=CONNECT_WITHIN_S)
        except grpc.aio.AioRpcError:
            return None
        return bytes(reply.json)

    # ---- the way through all nodes ------------------------------------------------------------------

    async def _rounds(self, action: Callable[[OperatorStub], Any], *, changes: bool) -> Answer:
        """Rounds are repeated only while nodes answer that nobody leads: an election takes a moment."""
        began_at = self._clock.now()
        told = asked = False
        while True:
            complaints: dict[str, str] = {}
            leaderless = False
            waiting = self._in_order()
            redirects = 0
            while waiting:
                address = waiting.pop(0)
                problem = await self._connected(address)
                if problem is not None:
                    complaints[address] = problem
                    continue
                try:
                    reply = await action(OperatorStub(self._channel(address)))
                except grpc.aio.AioRpcError as error:
                    verdict = verdict_of(error)
                    complaints[address] = why(error)
                    asked = asked or may_have_begun(error)
                    match verdict:
                        case Verdict.BAD_REQUEST | Verdict.REFUSED if asked and changes:
                            # Of this asking nothing came; of the one before nobody knows.
                            raise OutcomeUnknown(f"an answer was lost, and then: {why(error)}") from error
                        case Verdict.BAD_REQUEST:
                            raise BadConfig(mistakes_of(error)) from error
                        case Verdict.REFUSED:
                            raise Refused(why(error)) from error
                        case Verdict.BROKEN:
                            raise Broke(f"{address} failed: {why(error)}") from error
                        case Verdict.NOT_LEADING:
                            leader = leader_of(error)
                            if leader and redirects < REDIRECTS_MAX:
                                redirects += 1
                                waiting = [leader, *(a for a in waiting if a != leader)]
                            else:
                                leaderless = True
                        case Verdict.LOST:
                            await self._forget(address)
                    continue
                self._best = address
                return Answer(address, reply, asked_before=asked)
            if not leaderless or self._ms_since(began_at) > LEADER_WITHIN_MS:
                raise _nobody(complaints, unknown=asked and changes, leaderless=leaderless)
            if not told:
                told = True
                self._tell(
                    f"no control node can answer at the moment; waiting ({next(iter(complaints.values()))})"
                )
            await asyncio.sleep(ROUND_PAUSE_S)

    def _in_order(self) -> list[str]:
        first = [] if self._best is None else [self._best]
        return [*first, *(address for address in self._addresses if address not in first)]

    def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = grpc.aio.secure_channel(
                address,
                self._credentials,
                options=[
                    # We go to the next node ourselves, and a proxy of the web has no business here.
                    ("grpc.enable_retries", 0),
                    ("grpc.enable_http_proxy", 0),
                    ("grpc.use_local_subchannel_pool", 1),
                ],
            )
        return channel

    async def _forget(self, address: str) -> None:
        """The next attempt dials anew, without the pause that a broken channel makes."""
        channel = self._channels.pop(address, None)
        if channel is not None:
            await channel.close()

    async def _connected(self, address: str) -> str | None:
        """None, or why it could not be reached."""
        channel = self._channel(address)
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                state = channel.get_state(try_to_connect=True)
                while state not in (
                    grpc.ChannelConnectivity.READY,
                    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
                ):
                    await channel.wait_for_state_change(state)
                    state = channel.get_state(try_to_connect=True)
        except TimeoutError:
            await self._forget(address)
            return f"no answer within {CONNECT_WITHIN_S:g} s"
        if state is grpc.ChannelConnectivity.READY:
            return None
        try:
            # Fails at once, and says why the connection could not be made.
            await OperatorStub(channel).Status(pb.StatusRequest(), timeout=CONNECT_WITHIN_S)
        except grpc.aio.AioRpcError as error:
            await self._forget(address)
            return why(error)
        return None

    def _ms_since(self, at: Instant) -> int:
        return (self._clock.now() - at) // 1000


class Stream:
    """A gRPC stream that can be looked at with a deadline without losing what was on its way."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._reading: asyncio.Task[Any] | None = None

    async def begun(self, within_s: float) -> None:
        """Return when the first message is here, or when none came in time; raise AioRpcError if it broke."""
        await self._wait(within_s)
        if self._reading is not None and self._reading.done():
            self._reading.result()

    async def next(self, within_s: float) -> Any:
        """A message; None when none came in time. Raise NotDelivered when the stream has ended or broken,
        BadConfig and Refused as a question would."""
        if not await self._wait(within_s):
            return None
        assert self._reading is not None
        reading, self._reading = self._reading, None
        try:
            message = reading.result()
        except grpc.aio.AioRpcError as error:
            match verdict_of(error):
                case Verdict.BAD_REQUEST:
                    raise BadConfig(mistakes_of(error)) from error
                case Verdict.REFUSED:
                    raise Refused(why(error)) from error
                case _:
                    raise NotDelivered(why(error)) from error
        if message is grpc.aio.EOF:
            raise NotDelivered("it ended the stream")
        return message

    async def _wait(self, within_s: float) -> bool:
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._call.read())
        done, _ = await asyncio.wait({self._reading}, timeout=within_s)
        return bool(done)

    async def end(self) -> None:
        self._call.cancel()
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=CONNECT_WITHIN_S)
            if self._reading.done() and not self._reading.cancelled():
                self._reading.exception()  # seen: it was we who ended it
            self._reading = None


async def watch(nodes: ControlNodes, cluster: str) -> AsyncGenerator[Answer | Notice]:
    """Each new status, for ever. A node that falls silent is left for the next one, and it is said."""
    left: str | None = None
    while True:
        try:
            request = pb.StatusRequest(cluster=cluster)
            address, stream = await nodes.open(lambda stub: stub.Watch, request, changes=False)
        except (NotDelivered, OutcomeUnknown) as error:
            if left is None:
                raise
            yield Notice(f"no control node answers; trying again ({str(error).splitlines()[0]})")
            await asyncio.sleep(CONNECT_WITHIN_S)
            continue
        if left is not None:
            yield Notice(f"left {left}; now from {address}" if left != address else f"{left} is back")
        try:
            while True:
                reply = await stream.next(WATCH_SILENT_S)
                if reply is None:
                    raise NotDelivered(f"silent for {WATCH_SILENT_S:g} s")
                yield Answer(address, reply)
        except NotDelivered as error:
            left = address
            nodes.doubt(address)
            yield Notice(f"leaving {address}: {error}; trying the next control node")
        finally:
            await stream.end()


def _nobody(complaints: dict[str, str], *, unknown: bool, leaderless: bool) -> NotDelivered | OutcomeUnknown:
    head = "no control node can answer" if leaderless else "no control node could be reached"
    lines = [head, *(f"  {address}: {text}" for address, text in complaints.items())]
    if unknown:
        return OutcomeUnknown("\n".join(["the answer was lost", *lines[1:]]))
    return NotDelivered("\n".join(lines))
