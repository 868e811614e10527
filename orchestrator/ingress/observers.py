"""Between control nodes: what did you hear of X? The serving side and the asking side.

The answer comes from the table of beats, whether that node leads or not. Channels to the others stay open,
so that a question in the middle of a suspicion does not begin with a handshake.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import structlog

from common.clock import Clock
from common.errors import NotDelivered, OutcomeUnknown, Refused
from common.ids import ClusterName, MemberName
from common.resilience import POLICIES
from common.timebase import elapsed_ms
from orchestrator.core.events import ObserverAnswered, ObserverFailed
from orchestrator.ingress.heard import Heard
from orchestrator.ingress.identity import Kind, of_call
from orchestrator.ingress.tls import CHANNEL_OPTIONS
from orchestrator.ports import ControlNodes
from protos import observer_pb2 as pb

log = structlog.get_logger()

REFRESH_EVERY_S = 1.0
"""How soon a control node that joined or left is known here."""


class ObserverService:
    """The servicer of `primacy.v1.Observer`."""

    def __init__(self, node: str, clock: Clock, heard: Heard) -> None:
        self._node, self._clock, self._heard = node, clock, heard

    async def Heard(self, request: pb.HeardRequest, context: Any) -> pb.HeardReply:
        identity = of_call(context)
        if identity is None or identity.kind is not Kind.CONTROL:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "for control nodes only")
        reply = pb.HeardReply(node=self._node, listening_ms=self._heard.listening_ms)
        known = self._heard.find(request.cluster, request.member)
        if known is not None and known.heard_at is not None:
            reply.known = True
            reply.heard_age_ms = elapsed_ms(since=known.heard_at, now=self._clock.now())
            reply.boot_id, reply.sequence, reply.flags = known.boot_id, known.sequence, known.flags.to_int()
        return reply


class Observers:
    """The other control nodes, as etcd lists them."""

    def __init__(
        self, node: str, nodes: ControlNodes, clock: Clock, credentials: grpc.ChannelCredentials
    ) -> None:
        self._node, self._nodes, self._clock = node, nodes, clock
        self._credentials = credentials
        self._channels: dict[tuple[str, str], grpc.aio.Channel] = {}
        self._present: dict[str, str] = {}

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._present))

    async def run(self) -> None:
        """Keep the list of the others and the channels to them; until cancelled."""
        try:
            while True:
                try:
                    present = {node.name: node.address for node in await self._nodes.present()}
                except (NotDelivered, OutcomeUnknown, Refused):
                    present = {}  # etcd is away: those known stay
                if present:
                    present.pop(self._node, None)
                    await self._connect(present)
                await asyncio.sleep(REFRESH_EVERY_S)
        finally:
            for channel in self._channels.values():
                await channel.close()

    async def ask(
        self, node: str, cluster: ClusterName, member: MemberName, within_ms: int
    ) -> ObserverAnswered | ObserverFailed:
        channel = self._channels.get((node, self._present.get(node, "")))
        if channel is None:
            return ObserverFailed(self._clock.now(), node, member)
        call = channel.unary_unary(
            "/primacy.v1.Observer/Heard",
            request_serializer=pb.HeardRequest.SerializeToString,
            response_deserializer=pb.HeardReply.FromString,
        )
        within_s = min(within_ms / 1000, POLICIES["observer.ask"].timeout_s)
        try:
            reply = await call(pb.HeardRequest(cluster=cluster, member=member), timeout=within_s)
        except grpc.aio.AioRpcError as error:
            log.info("observer.failed", node=node, member=member, code=error.code().name)
            return ObserverFailed(self._clock.now(), node, member)
        return ObserverAnswered(
            self._clock.now(),
            node,
            member,
            reply.heard_age_ms if reply.known else None,
            reply.listening_ms,
        )

    async def _connect(self, present: dict[str, str]) -> None:
        self._present = present
        for key in [key for key in self._channels if key not in present.items()]:
            await self._channels.pop(key).close()
        for name, address in present.items():
            if (name, address) not in self._channels:
                self._channels[name, address] = channel = grpc.aio.secure_channel(
                    address, self._credentials, options=CHANNEL_OPTIONS
                )
                channel.get_state(try_to_connect=True)
