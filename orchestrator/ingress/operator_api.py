"""`Operator`: what people ask for. Only the leader answers; the others pass it on to it.

Nothing is decided here: what is asked becomes an event, and what is answered comes from the engine's status
and from the stories of the operation. What is refused changed nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

import grpc
import grpc.aio
import structlog

from common.clock import Clock
from common.codec import decode, encode
from common.errors import NotDelivered, OutcomeUnknown, Refused
from common.ids import ClusterName, MemberName
from common.timebase import Instant
from orchestrator.core.effects import OutageMeasured
from orchestrator.core.events import Event, FailoverAsked, SwitchoverAsked
from orchestrator.core.record import Phase, Record
from orchestrator.core.spec import ClusterSpec
from orchestrator.core.status import CanaryLine, ClusterStatus
from orchestrator.ingress.forwarding import ANSWERED_BY, MAY_HAVE_BEGUN, Forwarding, Leading
from orchestrator.ingress.identity import Identity
from orchestrator.ingress.spec_changes import changes_in_words
from orchestrator.ports import Conflict, HistoryStore, Shelf, SpecStore
from protos import operator_pb2 as pb

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]

WATCH_EVERY_S = 1.0
WATCH_PAUSE_S = 0.1
"""Between two pictures of the same epoch and phase: reasons change with every report, and each picture takes the leader a
millisecond, for everybody who looks on, while clients wait."""
HISTORY_DEFAULT = 20
HISTORY_MAX = 200
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_KINDS = {
    "": pb.STEP_PROGRESS,
    "refused": pb.STEP_REFUSED,
    "succeeded": pb.STEP_SUCCEEDED,
    "failed": pb.STEP_FAILED,
}


class Watched(Protocol):
    """A cluster as the loop knows it (shell.case)."""

    record: Record | None
    must_load: bool

    @property
    def engine(self) -> StatusOf: ...


class StatusOf(Protocol):
    def status(self, now: Instant) -> ClusterStatus: ...


class RefusedLine(Protocol):
    @property
    def member(self) -> MemberName: ...
    @property
    def reason(self) -> str: ...
    @property
    def text(self) -> str: ...


class Step(Protocol):
    """As shell.operations.OperationStep."""

    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def since_start_ms(self) -> int: ...
    @property
    def final(self) -> str: ...
    @property
    def refused(self) -> tuple[RefusedLine, ...]: ...
    @property
    def outage(self) -> OutageMeasured | None: ...


class Operations(Protocol):
    def knows(self, operation: str) -> bool: ...
    def begin(self, cluster: ClusterName, operation: str, by: str) -> None: ...
    def restore(self, body: bytes) -> None: ...
    def forget(self, operation: str) -> None: ...
    def follow(self, operation: str) -> AsyncIterator[Any]: ...


class OperatorService:
    """The servicer of `primacy.v1.Operator`."""

    def __init__(  # noqa: PLR0913 - the composition root names each part
        self,
        *,
        node: str,
        clock: Clock,
        leading: Leading,
        forwarding: Forwarding,
        watched: Mapping[ClusterName, Any],
        listen: Callable[[ClusterName], None] = lambda _cluster: None,
        next_change: Callable[[], Awaitable[None]],
        put: Callable[[ClusterName, Event], bool],
        operations: Operations,
        specs: SpecStore,
        history: HistoryStore,
        zones: frozenset[str],
        canary: Callable[[ClusterName], CanaryLine | None] | None = None,
    ) -> None:
        """`canary`: what is known of a cluster's; None where this fleet can't have any."""
        self._node, self._clock = node, clock
        self._leading, self._forwarding = leading, forwarding
        self._watched: Mapping[ClusterName, Watched] = watched
        self._listen = listen
        self._next_change, self._put = next_change, put
        self._operations, self._specs, self._history = operations, specs, history
        self._zones = zones
        self._canary = canary

    def _leads(self) -> bool:
        return self._leading.leads

    # ---- looking ----

    async def Status(self, request: pb.StatusRequest, context: Context) -> Any:
        caller = await self._forwarding.caller(context, changes=False)
        if not self._leads():
            return await self._forwarding.unary("Status", request, pb.StatusReply, context, caller)
        return await self._status(request.cluster, context)

    async def Watch(self, request: pb.StatusRequest, context: Context) -> AsyncIterator[Any]:
        caller = await self._forwarding.caller(context, changes=False)
        if not self._leads():
            async for reply in self._forwarding.stream("Watch", request, pb.StatusReply, context, caller):
                yield reply
            return
        loop = asyncio.get_running_loop()
        while True:
            shown, shown_at = self._places(request.cluster), loop.time()
            yield await self._status(request.cluster, context)
            if self._places(request.cluster) == shown:
                await self._change_within(WATCH_EVERY_S)
            while self._leads() and self._places(request.cluster) == shown:
                left_s = shown_at + WATCH_PAUSE_S - loop.time()
                if left_s <= 0:
                    break
                await self._change_within(left_s)
            if not self._leads():
                await context.abort(grpc.StatusCode.UNAVAILABLE, f"{self._node} leads no more")

    async def History(self, request: pb.HistoryRequest, context: Context) -> Any:
        caller = await self._forwarding.caller(context, changes=False)
        if not self._leads():
            return await self._forwarding.unary("History", request, pb.HistoryReply, context, caller)
        cluster = await self._cluster(request.cluster, context)
        count = min(request.limit or HISTORY_DEFAULT, HISTORY_MAX)
        try:
            notes = await self._history.newest(Shelf.INCIDENTS, cluster, count)
        except (NotDelivered, OutcomeUnknown, Refused) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"etcd does not answer: {error}")
        newest_first = sorted(notes, key=lambda note: note.id, reverse=True)
        return pb.HistoryReply(incidents_json=[note.body for note in newest_first])

    async def _change_within(self, within_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._next_change()

    def _places(self, cluster: str) -> tuple[tuple[int, Phase] | None, ...]:
        """Epoch and phase of what is watched: whoever looks on wants to see each of them."""
        watched = [self._watched.get(ClusterName(cluster))] if cluster else list(self._watched.values())
        records = (None if one is None else one.record for one in watched)
        return tuple(None if record is None else (record.epoch, record.phase) for record in records)

    async def _status(self, cluster: str, context: Context) -> pb.StatusReply:
        if cluster:
            name = await self._cluster(cluster, context)
            status = self._of(name)
            return pb.StatusReply(json=encode(status), revision=status.revision)
        everything = [self._of(name) for name in sorted(self._watched)]
        return pb.StatusReply(json=encode(everything))

    def _of(self, cluster: ClusterName) -> ClusterStatus:
        self._listen(cluster)
        status = self._watched[cluster].engine.status(self._clock.now())
        canary = None if self._canary is None else self._canary(cluster)
        return replace(status, leader=self._node, canary=canary)

    async def _cluster(self, name: str, context: Context) -> ClusterName:
        cluster = ClusterName(name)
        if cluster not in self._watched:
            await self._not_yet_read(cluster, context)
            known = ", ".join(sorted(self._watched)) or "none yet"
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"there is no cluster {name!r}; known: {known} (primacy cluster apply)",
            )
        return cluster

    async def _not_yet_read(self, cluster: ClusterName, context: Context) -> None:
        """Who leads since a moment, or heard of a specification's change from somebody else, may not have
        read what etcd has. That is worth waiting for, and no mistake of the one who asks."""
        try:
            stored = await self._specs.load(cluster)
        except (NotDelivered, OutcomeUnknown, Refused) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"etcd does not answer: {error}")
        if stored is not None:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE,
                f"{self._node} has not read the specification of {cluster} yet, or could not; ask again, or see its log",
            )

    # ---- changing ----

    async def Apply(self, request: pb.ApplyRequest, context: Context) -> Any:
        caller = await self._forwarding.caller(context, changes=True)
        if not self._leads():
            return await self._forwarding.unary("Apply", request, pb.ApplyReply, context, caller)
        try:
            spec = decode(request.spec_json, ClusterSpec)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        mistakes = [*spec.mistakes(), *self._mistakes_with_others(spec)]
        if mistakes:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "\n".join(mistakes))
        try:
            stored = await self._specs.load(spec.name)
            old = None if stored is None else decode(stored.body, ClusterSpec)
            changes = changes_in_words(old, spec)
            if changes and not request.dry_run:
                await self._specs.save(spec.name, encode(spec), 0 if stored is None else stored.mod_revision)
                log.info("spec.applied", cluster=spec.name, by=str(caller), changes=list(changes))
        except Conflict:
            await context.abort(
                grpc.StatusCode.ABORTED,
                f"{spec.name} was changed by somebody else in the same moment; look again",
            )
        except (NotDelivered, OutcomeUnknown) as error:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, f"etcd does not answer ({error}); applying again is harmless"
            )
        except Refused as error:
            await context.abort(grpc.StatusCode.ABORTED, str(error))
        return pb.ApplyReply(changed=bool(changes), changes=changes)

    def _mistakes_with_others(self, spec: ClusterSpec) -> list[str]:
        mistakes: list[str] = []
        if self._zones and spec.zone.rstrip(".").lower() not in self._zones:
            known = ", ".join(f"{zone}." for zone in sorted(self._zones))
            mistakes.append(
                f"zone: no control node publishes {spec.zone!r}; use one of {known} or add a [[dns]]"
            )
        if spec.canary and self._canary is None:
            mistakes.append(
                f"canary: True, but {self._node} has no credentials for one; add [canary] with a password_file"
                " to every control node and canary_password_file to every agent, or use 'canary = false'"
            )
        return mistakes

    async def Switchover(self, request: pb.SwitchoverRequest, context: Context) -> AsyncIterator[Any]:
        caller = await self._forwarding.caller(context, changes=True)
        if not self._leads():
            async for step in self._forwarding.stream(
                "Switchover", request, pb.OperationStep, context, caller
            ):
                yield step
            return
        to = MemberName(request.to) if request.to else None

        def asked(operation: str, by: str) -> Event:
            return SwitchoverAsked(self._clock.now(), operation, by, to)

        async for step in self._operate(request.cluster, request.request_id, asked, context, caller):
            yield step

    async def Failover(self, request: pb.FailoverRequest, context: Context) -> AsyncIterator[Any]:
        caller = await self._forwarding.caller(context, changes=True)
        if not self._leads():
            async for step in self._forwarding.stream("Failover", request, pb.OperationStep, context, caller):
                yield step
            return

        def asked(operation: str, by: str) -> Event:
            return FailoverAsked(self._clock.now(), operation, by, request.force)

        async for step in self._operate(request.cluster, request.request_id, asked, context, caller):
            yield step

    async def _operate(
        self,
        cluster_name: str,
        operation: str,
        asked: Callable[[str, str], Event],
        context: Context,
        caller: Identity,
    ) -> AsyncIterator[pb.OperationStep]:
        cluster = await self._cluster(cluster_name, context)
        if not _REQUEST_ID.fullmatch(operation):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "request_id: draw a random one of letters, digits and '-'"
            )
        await self._begin(cluster, operation, asked, context, caller)
        async for step in self._operations.follow(operation):
            if step is not None:
                yield _step(operation, step)
            elif not self._leads():
                await context.abort(
                    grpc.StatusCode.UNAVAILABLE,
                    f"{self._node} leads no more; ask again with the same request id, and it goes on",
                    ((ANSWERED_BY, self._node), (MAY_HAVE_BEGUN, "1")),
                )

    async def _begin(
        self,
        cluster: ClusterName,
        operation: str,
        asked: Callable[[str, str], Event],
        context: Context,
        caller: Identity,
    ) -> None:
        """Ask for it, unless that was done before: here, at an earlier leader, or in the record."""
        if self._operations.knows(operation):
            return
        try:
            note = await self._history.get(Shelf.OPERATIONS, cluster, operation)
            if note is not None:
                self._operations.restore(note.body)
        except (NotDelivered, OutcomeUnknown, Refused, ValueError) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"etcd does not answer: {error}")
        watched = self._watched[cluster]
        if watched.must_load:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the record is not read yet; ask again")
        if self._operations.knows(operation):
            return  # it had begun: at an earlier leader, or while etcd was asked
        self._operations.begin(cluster, operation, str(caller))
        record = watched.record
        if record is not None and record.operation is not None and record.operation.id == operation:
            return
        log.info("operation.asked", cluster=cluster, operation=operation, by=str(caller))
        if not self._put(cluster, asked(operation, str(caller))):
            self._operations.forget(operation)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the control node is overloaded")


def _step(operation: str, step: Step) -> pb.OperationStep:
    said = pb.OperationStep(
        operation=operation,
        kind=_KINDS[step.final],
        name=step.name,
        text=step.text,
        since_start_ms=step.since_start_ms,
        refusals=[pb.Refusal(member=r.member, reason=r.reason, text=r.text) for r in step.refused],
    )
    if step.outage is not None:
        said.outage.known = True
        said.outage.outage_ms = step.outage.outage_ms
        said.outage.uncertainty_ms = step.outage.uncertainty_ms
    return said
