"""A control node that does not lead passes what people ask on to the one that does.

Once only: what was forwarded and finds no leader is answered with words, never forwarded again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import grpc
import grpc.aio

from common.resilience import POLICIES
from orchestrator.ingress.identity import Identity, Kind, of_call
from orchestrator.ingress.tls import CHANNEL_OPTIONS

Context = grpc.aio.ServicerContext[Any, Any]

FORWARDED_BY = "primacy-forwarded-by"
ON_BEHALF_OF = "primacy-on-behalf-of"
ANSWERED_BY = "primacy-answered-by"
"""With everything that a control node says itself, so that it can be told from what gRPC says of a lost one."""
MAY_HAVE_BEGUN = "primacy-may-have-begun"
"""With the answer that the leader was lost: what was asked had been sent, and nobody heard what became of
it. The one who asked must not take it for undone."""
ANSWER_WITHIN_S = POLICIES["operator.forward"].timeout_s
"""Less than the client waits, so that it hears words and no silence."""
STREAM_WITHIN_S = 86_400.0
NEVER_SENT = "failed to connect to all addresses"
"""How gRPC says that there was no connection to send anything over; everything else may have arrived."""


class Leading(Protocol):
    @property
    def leads(self) -> bool: ...

    @property
    def leader_address(self) -> str: ...

    async def why_nobody_leads(self) -> str:
        """For people, once nobody is known who leads."""
        ...


class Forwarding:
    def __init__(
        self, node: str, own_address: str, leading: Leading, credentials: grpc.ChannelCredentials
    ) -> None:
        self._node, self._own_address, self._leading = node, own_address, leading
        self._credentials = credentials
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    async def caller(self, context: Context, *, changes: bool) -> Identity:
        """Who asks, also where another control node passed it on. Ends the call for anybody else."""
        context.set_trailing_metadata(((ANSWERED_BY, self._node),))
        identity = of_call(context)
        said = dict(context.invocation_metadata() or ())
        if identity is not None and identity.kind is Kind.CONTROL and ON_BEHALF_OF in said:
            kind, _, name = str(said[ON_BEHALF_OF]).partition(":")
            if kind in set(Kind) and name:
                identity = Identity(Kind(kind), name)
        allowed = (Kind.OPERATOR,) if changes else (Kind.OPERATOR, Kind.CONTROL)
        if identity is None or identity.kind not in allowed:
            wanted = " or ".join(f"{kind}:NAME" for kind in allowed)
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, f"a certificate of {wanted} is wanted, not {identity}"
            )
        return identity

    async def unary(self, method: str, request: Any, reply: Any, context: Context, caller: Identity) -> Any:
        channel, metadata = await self._way(context, caller)
        call = channel.unary_unary(
            f"/primacy.v1.Operator/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply.FromString,
        )
        try:
            return await call(request, timeout=ANSWER_WITHIN_S, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            await self._pass_on(error, context)

    async def stream(
        self, method: str, request: Any, reply: Any, context: Context, caller: Identity
    ) -> AsyncIterator[Any]:
        channel, metadata = await self._way(context, caller)
        call = channel.unary_stream(
            f"/primacy.v1.Operator/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply.FromString,
        )(request, timeout=STREAM_WITHIN_S, metadata=metadata)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            await self._pass_on(error, context)
        finally:
            call.cancel()

    async def _way(
        self, context: Context, caller: Identity
    ) -> tuple[grpc.aio.Channel, Sequence[tuple[str, str]]]:
        address = self._leading.leader_address
        forwarded = FORWARDED_BY in dict(context.invocation_metadata() or ())
        if not address or address == self._own_address or forwarded:
            why = await self._leading.why_nobody_leads()
            words = f"{self._node} does not lead, and knows of nobody who does: {why}"
            await context.abort(grpc.StatusCode.UNAVAILABLE, words)
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = grpc.aio.secure_channel(
                address, self._credentials, options=CHANNEL_OPTIONS
            )
        return channel, ((FORWARDED_BY, self._node), (ON_BEHALF_OF, str(caller)))

    async def _pass_on(self, error: grpc.aio.AioRpcError, context: Context) -> None:
        code, words = error.code(), error.details() or ""
        said = dict(error.trailing_metadata() or ())
        may_have_begun = MAY_HAVE_BEGUN in said
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            code = grpc.StatusCode.UNAVAILABLE
            lost = ANSWERED_BY not in said and not words.startswith(NEVER_SENT)
            may_have_begun = may_have_begun or lost
            what = "lost" if lost else "got no answer from" if ANSWERED_BY in said else "could not reach"
            words = f"{self._node} {what} the leader at {self._leading.leader_address}: {words}"
        beside = [(ANSWERED_BY, self._node), *([(MAY_HAVE_BEGUN, "1")] if may_have_begun else [])]
        await context.abort(code, words, tuple(beside))
