"""Every story goes three ways: the log, the incident of its epoch, and who asked for the operation.

Telling is immediate; storing follows in the background, in order. Nothing decides by what is stored, so a
note that can't be written for long is given up: the log has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from common.clock import Clock
from common.codec import decode, encode
from common.errors import LostLeadership, NotDelivered, OutcomeUnknown, Refused
from common.ids import ClusterName
from common.timebase import elapsed_ms
from orchestrator.core.effects import Story
from orchestrator.ports import HistoryStore, Shelf, Term
from orchestrator.shell.operations import Operations
from orchestrator.telemetry.incident import Incident, begun, told
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger()

STORE_ATTEMPTS = 5
STORE_PAUSE_S = 0.5
WAITING_MAX = 1_000

Told = tuple[ClusterName, Story, int]


class Stories:
    def __init__(
        self,
        *,
        clock: Clock,
        operations: Operations,
        history: HistoryStore,
        term: Callable[[], Term | None],
        metrics: Metrics,
    ) -> None:
        self._clock, self._operations, self._history = clock, operations, history
        self._term, self._metrics = term, metrics
        self._waiting: asyncio.Queue[Told] = asyncio.Queue(WAITING_MAX)
        self._incidents: dict[ClusterName, Incident] = {}
        self._storing = False

    def tell(self, cluster: ClusterName, story: Story) -> None:
        wall_ms = self._clock.wall_ms()
        if story.happened_at is not None:
            wall_ms -= elapsed_ms(since=story.happened_at, now=self._clock.now())
        log.info(
            "story.told",
            cluster=cluster,
            epoch=story.epoch,
            name=story.name,
            text=story.text,
            member=story.member,
            operation=story.operation,
            final=story.final,
        )
        if story.operation:
            self._operations.tell(cluster, story)
        if story.final:
            self._metrics.failovers.labels(cluster, story.final).inc()
        if story.outage is not None:
            self._metrics.outage_seconds.labels(cluster).set(story.outage.outage_ms / 1000)
        if self._waiting.full():
            log.warning("story.not_stored", cluster=cluster, epoch=story.epoch, name=story.name)
        else:
            self._waiting.put_nowait((cluster, story, wall_ms))

    @property
    def is_idle(self) -> bool:
        """Everything that was told is stored, or was given up."""
        return self._waiting.empty() and not self._storing

    def forget(self) -> None:
        """Our term is over: what is in etcd is grown by somebody else now."""
        self._incidents.clear()
        self._operations.interrupt()

    async def run(self) -> None:
        while True:
            self._storing = False
            cluster, story, wall_ms = await self._waiting.get()
            self._storing = True
            if story.operation and self._operations.knows(story.operation):
                _, body = self._operations.note(story.operation)
                await self._store(Shelf.OPERATIONS, cluster, story.operation, body)
            if story.name == "refused":
                continue  # nothing happened in the epoch
            incident = await self._incident(cluster, story.epoch, wall_ms)
            grown = told(incident, story, wall_ms)
            self._incidents[cluster] = grown
            if grown != incident:
                await self._store(Shelf.INCIDENTS, cluster, grown.id, encode(grown))

    async def _incident(self, cluster: ClusterName, epoch: int, wall_ms: int) -> Incident:
        """That of the epoch: in memory, stored by an earlier leader, or new."""
        known = self._incidents.get(cluster)
        if known is not None and known.epoch == epoch:
            return known
        fresh = begun(cluster, epoch, wall_ms)
        try:
            note = await self._history.get(Shelf.INCIDENTS, cluster, fresh.id)
            if note is not None:
                return decode(note.body, Incident)
        except (NotDelivered, OutcomeUnknown, Refused, ValueError) as error:
            log.warning("incident.not_read", cluster=cluster, epoch=epoch, error=str(error))
        return fresh

    async def _store(self, shelf: Shelf, cluster: ClusterName, note_id: str, body: bytes) -> None:
        for attempt in range(STORE_ATTEMPTS):
            term = self._term()
            if term is None:
                return
            try:
                await self._history.put(shelf, cluster, note_id, body, term)
                return
            except LostLeadership:
                return
            except (NotDelivered, OutcomeUnknown, Refused) as error:
                log.warning("history.not_stored", shelf=shelf.value, note=note_id, error=str(error))
                await asyncio.sleep(STORE_PAUSE_S * (attempt + 1))
