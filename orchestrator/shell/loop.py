"""One turn, and the order in it that everything rests on (architecture.md, "One turn").

Take what came of a cluster into its engine; decide; save the record; only then deliver and act. Every control
node feeds its engines, so that the detector is warm; only the leader decides. A lost term ends leading in the
same turn, and listening goes on. A broken invariant is not caught here: it ends the process.

Whose turn it is, is `turns.py`'s: a cluster that waits for etcd keeps no other one from deciding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from common.assignment import Version
from common.clock import Clock
from common.codec import decode, encode
from common.errors import LostLeadership, NotDelivered, OutcomeUnknown, Refused
from common.ids import ClusterName
from common.timebase import MS_US, Instant, after_ms
from orchestrator.core.decision import Decision
from orchestrator.core.engine import Engine
from orchestrator.core.events import (
    LeadershipGained,
    LeadershipLost,
    RecordLoaded,
    RecordSaved,
    SpecLoaded,
    Tick,
)
from orchestrator.core.record import Record
from orchestrator.ports import Conflict, RecordStore, StoredRecord, Term
from orchestrator.shell.case import Case
from orchestrator.shell.dispatch import Dispatch
from orchestrator.shell.failpoints import Failpoints, tags
from orchestrator.shell.highest_seen import HighestSeen
from orchestrator.shell.inbox import Inbox
from orchestrator.shell.leases import Leases
from orchestrator.shell.turns import Turns
from orchestrator.telemetry.audit import Audit
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger()

AGAIN_MS_MIN = 1
LOADS_AT_ONCE = 64
"""At the beginning of a term every record is read, so many with one request; more at once would only wait in line, each
until its own deadline."""
YIELDS_EVERY_US = 2_000
"""Then beats and streams have their turn, however many clusters decide."""
NEWS_FIRST_FOR_US = 250_000
"""Then whoever was due before has its turn all the same, however many have news: an alarm must not wait for ever."""
SAVES_IN_A_ROW_MAX = 16
"""More than any sequence of the protocol needs without hearing from anybody; the next turn goes on."""


class Loop:
    def __init__(  # noqa: PLR0913 - the composition root names each part
        self,
        *,
        clock: Clock,
        inbox: Inbox,
        records: RecordStore,
        dispatch: Dispatch,
        leases: Leases,
        highest_seen: HighestSeen,
        metrics: Metrics,
        audit: Audit,
        other_nodes: Callable[[], tuple[str, ...]],
        is_busy: Callable[[bool], None] = lambda _busy: None,
        failpoints: Failpoints | None = None,
        make_engine: Callable[[ClusterName], Engine] = Engine,
    ) -> None:
        self._clock, self._inbox, self._records = clock, inbox, records
        self._dispatch, self._leases, self._highest_seen = dispatch, leases, highest_seen
        self._metrics, self._audit = metrics, audit
        self._other_nodes, self._is_busy = other_nodes, is_busy
        self._failpoints = failpoints or Failpoints()
        self._make_engine = make_engine
        self._term: Term | None = None
        self._elected: Term | None = None
        self.cases: dict[ClusterName, Case] = {}
        self._turns = Turns(self.cases, lambda case, now: case.moved_on(now, inbox.all_is_as_before))
        self._missed: set[ClusterName] = set()
        """Clusters that were due while their turn waited for etcd."""
        self._turning = 0
        """How many turns wait. A term begins only when those of the one before have ended: what they saved, or ordered,
        was decided under that one."""
        self._loading = asyncio.Semaphore(LOADS_AT_ONCE)
        self._changed = asyncio.Event()
        self._has_news = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as waiting:
            while True:
                await self._inbox.wait(None if self._term is None else self._turns.next_at())
                await self._begin_turns(waiting)

    async def run_turn(self) -> None:
        """All that are due, to their end."""
        async with asyncio.TaskGroup() as waiting:
            await self._begin_turns(waiting)

    async def _begin_turns(self, waiting: asyncio.TaskGroup) -> None:
        """Whoever must wait for etcd does so in a task of its own. In a large fleet a tick makes hundreds decide: who
        has news meanwhile does not stand behind them."""
        self._follow_the_election()
        began_at = yielded_at = self._clock.now()
        due = self._due()
        while due:
            case = due.pop(next(iter(due)))
            if case.is_turning:
                self._missed.add(case.cluster)
            else:
                self._feed(case)
                if self._term is not None and self._may_decide(case):
                    self._begin_turn(case, waiting)
            now = self._clock.now()
            if now - yielded_at > YIELDS_EVERY_US:
                await asyncio.sleep(0)
                if due and now - began_at < NEWS_FIRST_FOR_US:
                    due = self._due(news_alone=True) | due
                yielded_at = self._clock.now()
        self._is_busy(self._term is not None and self._turns.any_busy)

    def _begin_turn(self, case: Case, waiting: asyncio.TaskGroup) -> None:
        self._look_at_nodes(case)
        decision = None if case.must_load else self._decide(case)
        if decision is not None and decision.record is None:
            rest = self._start(case, decision)
            if rest is not None:
                self._apart(case, rest, waiting)
            return
        self._apart(case, self._turn(case, decision), waiting)

    def _apart(self, case: Case, work: Coroutine[Any, Any, None], waiting: asyncio.TaskGroup) -> None:
        case.is_turning = True
        self._turning += 1
        waiting.create_task(self._to_its_end(case, work))

    async def _to_its_end(self, case: Case, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            case.is_turning = False
            self._turning -= 1
        if self._term is None:
            self._inbox.wake()  # the next term may begin
            return
        self._turns.note(case)
        if case.cluster in self._missed:
            self._missed.discard(case.cluster)
            self._inbox.call(case.cluster)
        self._is_busy(self._turns.any_busy)

    async def _turn(self, case: Case, decision: Decision | None) -> None:
        """Go on with a decision that is to be saved, or with reading the record."""
        for _ in range(SAVES_IN_A_ROW_MAX):
            if decision is None:
                if not self._may_decide(case):
                    return
                self._look_at_nodes(case)
                if case.must_load and not await self._load(case):
                    return
                decision = self._decide(case)
            if not self._leads():
                return  # the term ended between the decision and this task of its own
            if decision.record is not None and not await self._save(case, decision.record):
                return
            rest = self._start(case, decision)
            if rest is not None:
                await rest
            if decision.record is None:
                return
            decision = None
        self._missed.add(case.cluster)  # let the others have their turn first

    def _start(self, case: Case, decision: Decision) -> Coroutine[Any, Any, None] | None:
        """Orders go out before anybody's screen is drawn anew."""
        rest = self._dispatch.start(case, decision)
        if self._has_news:
            self._announce()
        return rest

    def _may_decide(self, case: Case) -> bool:
        return self._clock.now() >= case.pause_until and self._leads()

    def _decide(self, case: Case) -> Decision:
        now = case.looked_at = self._clock.now()
        decision = case.decision = case.engine.turn(now)
        if decision.again_at_us is None:
            case.again_at = None
        else:
            case.again_at = Instant(max(decision.again_at_us, after_ms(now, AGAIN_MS_MIN)))
        self._turns.note(case)
        # Before anything is sent: one that leaves the epoch grants nothing from this moment on.
        self._leases.stand(case.cluster, decision.grant)
        if self._audit.decided(case.cluster, decision, took_us=self._clock.now() - now):
            self._has_news = True
            if decision.record is not None:
                self._announce()  # the save that follows takes its time, and then it is decided anew
        return decision

    # ---- the record ----

    async def _save(self, case: Case, record: Record) -> bool:
        term = self._term
        assert term is not None
        began = self._clock.now()
        try:
            revision = await self._records.save(case.cluster, encode(record), case.revision, term)
        except LostLeadership as error:
            self._metrics.saves.labels("lost_leadership").inc()
            self._end_term(str(error))
            return False
        except (NotDelivered, OutcomeUnknown, Conflict, Refused) as error:
            # What may have been stored, or was changed by somebody else, is read before anything is decided.
            case.must_load = not isinstance(error, NotDelivered)
            case.is_unsettled = isinstance(error, OutcomeUnknown)
            self._leases.stand(case.cluster, None)
            self._failed(case, "save", error)
            return False
        self._metrics.saves.labels("saved").inc()
        self._metrics.save_seconds.observe((self._clock.now() - began) / (1000 * MS_US))
        case.tags = tags(record, case.record)
        self._know(case, record, revision)
        self._failpoints.saved(case.tags)
        if not self._leads():
            return False
        case.engine.feed(RecordSaved(self._clock.now(), record, revision))
        return True

    async def _load(self, case: Case) -> bool:
        try:
            async with self._loading:
                stored = await self._records.load(case.cluster)
            if case.is_unsettled and stored is not None:
                stored = await self._settled(case, stored)
            case.is_unsettled = False
            record = None if stored is None else decode(stored.body, Record)
        except LostLeadership as error:
            self._end_term(str(error))
            return False
        except (NotDelivered, OutcomeUnknown, Conflict, Refused, ValueError) as error:
            self._failed(case, "load", error)
            return False
        if not self._leads():
            return False
        self._tell_of_term(case)
        case.must_load = False
        case.tags = frozenset()
        self._know(case, record, 0 if stored is None else stored.mod_revision)
        case.engine.feed(RecordLoaded(self._clock.now(), record, case.revision))
        return True

    async def _settled(self, case: Case, stored: StoredRecord) -> StoredRecord:
        """What was read, saved as it is: it compares the same revision as the save that was not answered and raises it
        for ever, so that one can't land any more. A Conflict says that it landed just now, and is read.

        With nothing stored there is nothing to save anew, and no epoch to be left: the next save meets it.
        """
        term = self._term
        if term is None or stored.mod_revision > case.revision:
            return stored  # it landed, or can't any more
        revision = await self._records.save(case.cluster, stored.body, stored.mod_revision, term)
        return StoredRecord(stored.body, revision)

    def _know(self, case: Case, record: Record | None, revision: int) -> None:
        case.succeeded()
        case.record, case.revision = record, revision
        if record is not None:
            self._highest_seen.note(case.cluster, Version(record.epoch, revision))
            self._audit.knows(case.cluster, record)
        self._has_news = True  # told with the decision that follows

    def _failed(self, case: Case, what: str, error: Exception) -> None:
        pause_ms = case.failed(self._clock.now())
        self._metrics.saves.labels(f"{what}_{type(error).__name__}").inc()
        case.again_at = case.pause_until
        log.warning(
            "record.not_reached", cluster=case.cluster, what=what, error=str(error), pause_ms=pause_ms
        )

    # ---- leading ----

    def lead(self, term: Term | None) -> None:
        """The election's newest word. An end takes effect at once, a beginning with the next turn."""
        self._elected = term
        if self._term is not None and not self._leads():
            self._leases.withdraw_all()
            self._dispatch.end_term()
        self._inbox.wake()

    @property
    def leads(self) -> bool:
        return self._leads()

    async def next_change(self) -> None:
        """Until something that people want to see has changed, in any cluster."""
        await self._changed.wait()

    def _announce(self) -> None:
        self._has_news = False
        self._changed.set()
        self._changed = asyncio.Event()

    def _leads(self) -> bool:
        return self._term is not None and self._term == self._elected

    def _follow_the_election(self) -> None:
        if self._term is not None and not self._leads():
            self._end_term("the election was lost")
        if self._elected is not None and self._term is None and not self._turning:
            self._term = self._elected
            self._metrics.leading.set(1)
            self._metrics.term.set(self._term.create_revision)
            self._metrics.leadership_changes.labels("gained").inc()
            log.info("leadership.gained", term=self._term.create_revision, clusters=sorted(self.cases))
            for case in self.cases.values():
                case.begins_a_term()
                self._inbox.call(case.cluster)
            self._inbox.tick(Tick(self._clock.now()))

    def _end_term(self, why: str) -> None:
        term, self._term = self._term, None
        if term is None:
            return
        if self._elected == term:
            self._elected = None
        self._leases.withdraw_all()
        self._dispatch.end_term()
        self._metrics.leading.set(0)
        self._metrics.term.set(0)
        self._metrics.leadership_changes.labels("lost").inc()
        log.warning("leadership.ended", term=term.create_revision, reason=why)
        now = self._clock.now()
        for case in self.cases.values():
            case.must_load, case.again_at, case.told_of_term = True, None, 0
            case.engine.feed(LeadershipLost(now))
        self._turns.forget()

    def _look_at_nodes(self, case: Case) -> None:
        """Control nodes come and go within a term: while the cluster is calm, the engine is told anew."""
        if case.told_of_term and case.told_of_nodes != self._other_nodes() and case.is_calm:
            case.told_of_term, case.must_load = 0, True

    def _tell_of_term(self, case: Case) -> None:
        assert self._term is not None
        if case.told_of_term != self._term.create_revision:
            case.told_of_term = self._term.create_revision
            case.told_of_nodes = self._other_nodes()
            case.engine.feed(
                LeadershipGained(
                    self._clock.now(),
                    self._term.create_revision,
                    self._records.etcd_cluster_id or 0,
                    self._other_nodes(),
                    self._highest_seen.of(case.cluster),
                )
            )

    # ---- events ----

    def _due(self, *, news_alone: bool = False) -> dict[ClusterName, Case]:
        """Whose turn it is; what came of clusters that nobody specified is thrown away."""
        urgent, tick = (self._inbox.urgent_calls(), None) if news_alone else self._inbox.calls()
        self._metrics.inbox_depth.set(self._inbox.depth)
        for cluster in urgent:
            if cluster not in self.cases:
                self._meet(cluster)
        if news_alone:
            due = [self.cases[cluster] for cluster in urgent if cluster in self.cases]
        else:
            due = self._turns.due(self._clock.now(), urgent, is_tick=tick is not None)
        self._missed.update(case.cluster for case in due if case.is_turning)
        return {case.cluster: case for case in due if not case.is_turning}

    def listen(self, cluster: ClusterName) -> None:
        """Somebody wants to see what is known now: what waits for the cluster's next turn is taken in."""
        case = self.cases[cluster]
        if not case.is_turning:
            self._feed(case)

    def _meet(self, cluster: ClusterName) -> None:
        events = self._inbox.take(cluster)
        if any(isinstance(event, SpecLoaded) for event in events):
            self.cases[cluster] = Case(cluster, self._make_engine(cluster))
            for event in events:
                self._inbox.put(cluster, event)

    def _feed(self, case: Case) -> None:
        case.engine.feed(Tick(self._clock.now()))
        for event in self._inbox.take(case.cluster):
            if isinstance(event, SpecLoaded):
                case.spec = event.spec
            case.engine.feed(event)
