"""Every story goes three ways: the log, the incident of its epoch, and who asked for the operation.

Telling is immediate; storing follows in the background, in order. Nothing decides by what is stored, so a
note that can't be written for long is given up: the log has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from common.clock import Clock
from common.codec import decode, encode
from common.errors import LostLeadership, NotDelivered, OutcomeUnknown, Refused
from common.ids import ClusterName
from common.timebase import elapsed_ms
from orchestrator.core.effects import Story
from orchestrator.core.outages import CanaryOutage
from orchestrator.ports import HistoryStore, Shelf, Term
from orchestrator.shell.operations import Operations
from orchestrator.telemetry.incident import Incident, begun, is_over, measured, told
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger()

STORE_ATTEMPTS = 5
STORE_PAUSE_S = 0.5
WAITING_MAX = 50_000
"""A new leader tells of every cluster how it stands; with thousands of them that takes a minute to store."""

GATHER_MS = 300
"""By then a failover mostly is over: what is written before takes from it, and most where control nodes have few cores.
A leader that dies takes so much of the account with it; its log has it. One that is stopped does not."""
GATHERED_MAX = 64
SETTLED_WITHIN_S = 0.3
"""At a stop; who leads next waits for it."""

Told = tuple[int, ClusterName, Story | CanaryOutage, int]
"""In which term of this process, of which cluster, what, and when (wall clock, ms)."""
Notes = dict[tuple[Shelf, ClusterName, str], bytes]
Listener = Callable[[ClusterName, Story], None]


class Stories:
    def __init__(
        self,
        *,
        clock: Clock,
        operations: Operations,
        history: HistoryStore,
        term: Callable[[], Term | None],
        metrics: Metrics,
        gather_ms: int = GATHER_MS,
    ) -> None:
        self._gather_ms = gather_ms
        self._clock, self._operations, self._history = clock, operations, history
        self._term, self._metrics = term, metrics
        self._waiting: asyncio.Queue[Told] = asyncio.Queue(WAITING_MAX)
        self._incidents: dict[ClusterName, Incident] = {}
        self._found_over: dict[ClusterName, int] = {}
        """By cluster, the epoch whose incident had ended before this leader told anything of it."""
        self._terms_count = 0
        self._notes: Notes = {}
        """Gathered, and not stored yet."""
        self._hurry = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Told of every story, at once. It must neither wait nor raise."""
        self._listeners.append(listener)

    def measured(self, cluster: ClusterName, outage: CanaryOutage) -> None:
        """The canary saw the outage of this epoch's incident, or more of it."""
        log.info(
            "outage.measured",
            cluster=cluster,
            epoch=outage.epoch,
            outage_ms=outage.outage_ms,
            resolution_ms=outage.resolution_ms,
            at_least=outage.at_least,
        )
        self._store_later(cluster, outage, self._clock.wall_ms())

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
        self._store_later(cluster, story, wall_ms)
        for listener in self._listeners:
            listener(cluster, story)

    def _store_later(self, cluster: ClusterName, what: Story | CanaryOutage, wall_ms: int) -> None:
        if self._waiting.full():
            name = what.name if isinstance(what, Story) else "outage"
            log.warning("story.not_stored", cluster=cluster, epoch=what.epoch, name=name)
        else:
            self._idle.clear()
            self._waiting.put_nowait((self._terms_count, cluster, what, wall_ms))

    @property
    def is_idle(self) -> bool:
        """Everything that was told is stored, or was given up."""
        return self._idle.is_set()

    async def settle(self, within_s: float = SETTLED_WITHIN_S) -> None:
        """We are about to lead no more: what was told is stored now and gathered no longer, as far as the time goes."""
        self._hurry.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()

    def forget(self) -> None:
        """Our term is over: what is in etcd is grown by somebody else now. What was told and not stored is lost."""
        self._terms_count += 1
        self._forget_accounts()
        self._operations.interrupt()

    def _forget_accounts(self) -> None:
        self._notes = {}
        self._incidents.clear()
        self._found_over.clear()

    async def run(self) -> None:
        """What is told is gathered first: in the middle of a failover etcd has better things to do."""
        while True:
            if self._waiting.empty():
                self._idle.set()
            gathered = [await self._waiting.get()]
            if self._waiting.qsize() < GATHERED_MAX:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._gather_ms / 1000):
                        await self._hurry.wait()
            while not self._waiting.empty() and len(gathered) < GATHERED_MAX:
                gathered.append(self._waiting.get_nowait())
            await self._store_all(gathered)

    async def _store_all(self, gathered: Sequence[Told]) -> None:
        """What was told in a term that is over by now is dropped, also where it ends in the middle."""
        for term, cluster, what, wall_ms in gathered:
            if term != self._terms_count:
                continue
            notes = await self._grown(cluster, what, wall_ms)
            if term != self._terms_count:
                self._forget_accounts()
                continue
            self._notes |= notes
        term = self._terms_count
        for (shelf, cluster, note_id), body in self._notes.items():
            if term == self._terms_count:
                await self._store(shelf, cluster, note_id, body)
        self._notes = {}

    async def _grown(self, cluster: ClusterName, what: Story | CanaryOutage, wall_ms: int) -> Notes:
        """What is to be stored now that this was told."""
        if isinstance(what, CanaryOutage):
            return await self._measure(cluster, what)
        notes: Notes = {}
        if what.operation and self._operations.knows(what.operation):
            _, body = self._operations.note(what.operation)
            notes[Shelf.OPERATIONS, cluster, what.operation] = body
        if what.name != "refused":  # then nothing happened in the epoch
            incident = await self._incident(cluster, what.epoch, wall_ms)
            self._incidents[cluster] = incident
            notes |= self._keep(incident, told(incident, what, wall_ms))
        return notes

    async def _measure(self, cluster: ClusterName, outage: CanaryOutage) -> Notes:
        incident = self._incidents.get(cluster)
        if incident is None or incident.epoch != outage.epoch:
            incident = await self._stored(cluster, outage.epoch)
            if incident is not None and is_over(incident):
                self._found_over[cluster] = outage.epoch
        if incident is None or self._found_over.get(cluster) == outage.epoch:
            return {}  # it ended under another leader: what we saw since is not a part of it
        return self._keep(incident, measured(incident, outage))

    def _keep(self, incident: Incident, grown: Incident) -> Notes:
        if grown == incident:
            return {}
        newest = self._incidents.get(grown.cluster)
        if newest is None or newest.epoch <= grown.epoch:
            self._incidents[grown.cluster] = grown
            if grown.outage_ms is not None:
                self._metrics.outage_seconds.labels(grown.cluster).set(grown.outage_ms / 1000)
        return {(Shelf.INCIDENTS, grown.cluster, grown.id): encode(grown)}

    async def _incident(self, cluster: ClusterName, epoch: int, wall_ms: int) -> Incident:
        """That of the epoch: in memory, stored by an earlier leader, or new."""
        known = self._incidents.get(cluster)
        if known is not None and known.epoch == epoch:
            return known
        stored = await self._stored(cluster, epoch)
        if stored is not None:
            if is_over(stored):
                self._found_over[cluster] = epoch
            return stored
        return begun(cluster, epoch, wall_ms)

    async def _stored(self, cluster: ClusterName, epoch: int) -> Incident | None:
        note_id = begun(cluster, epoch, 0).id
        waiting = self._notes.get((Shelf.INCIDENTS, cluster, note_id))
        if waiting is not None:
            return decode(waiting, Incident)
        try:
            note = await self._history.get(Shelf.INCIDENTS, cluster, note_id)
            return None if note is None else decode(note.body, Incident)
        except (NotDelivered, OutcomeUnknown, Refused, ValueError) as error:
            log.warning("incident.not_read", cluster=cluster, epoch=epoch, error=str(error))
            return None

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
