"""Performing what a decision asks for; outcomes come back through the inbox, as facts.

Every effect has a deadline, and one of its kind and key is under way at a time: a decision repeats its
effects each turn until it has heard the outcome. All of it belongs to a term, and ends with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, assert_never

import structlog

from common.assignment import Assignment
from common.clock import Clock
from common.ids import ClusterName, MemberName
from common.timebase import MS_US
from orchestrator.core.decision import Decision
from orchestrator.core.effects import AskObservers, Effect, ProbeSql, PublishNames, StandDown, Story
from orchestrator.core.events import (
    NamesAnswered,
    ObserverAnswered,
    ObserverFailed,
    ProbeAnswer,
    SqlProbed,
)
from orchestrator.core.names import WantedNames
from orchestrator.shell.case import Case
from orchestrator.shell.failpoints import Failpoints
from orchestrator.shell.inbox import Inbox
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger()

FAILPOINT_WAITS_S = 1.0


class Assignments(Protocol):
    """The agents' streams (egress)."""

    def offer(self, cluster: ClusterName, assignments: Sequence[Assignment]) -> None:
        """What each member is asked from now on; sent at once where it is new."""
        ...

    async def written(self, cluster: ClusterName) -> None:
        """Return once all that was offered has left for those who are connected."""
        ...

    def close_all(self) -> None:
        """We don't lead any more: end every stream."""
        ...


class Observers(Protocol):
    """The other control nodes (ingress)."""

    def names(self) -> tuple[str, ...]: ...

    async def ask(
        self, node: str, cluster: ClusterName, member: MemberName, within_ms: int
    ) -> ObserverAnswered | ObserverFailed: ...


class SqlProber(Protocol):
    """Our own look at a PostgreSQL (ingress)."""

    async def probe(self, address: str, port: int, within_ms: int) -> ProbeAnswer: ...

    def keep_warm(self, cluster: ClusterName, address: str, port: int) -> None:
        """Keep a connection to this one, the primary, instead of an earlier one of the cluster."""
        ...


class Publisher(Protocol):
    """DNS of all zones (shell.publishing)."""

    async def publish(self, wanted: WantedNames, say: Callable[[NamesAnswered], None]) -> None:
        """Until it is confirmed or superseded."""
        ...


class Stories(Protocol):
    def tell(self, cluster: ClusterName, story: Story) -> None: ...


class Dispatch:
    def __init__(  # noqa: PLR0913 - the composition root names each part
        self,
        *,
        clock: Clock,
        inbox: Inbox,
        metrics: Metrics,
        assignments: Assignments,
        observers: Observers,
        prober: SqlProber,
        publisher: Publisher,
        stories: Stories,
        stand_down: Callable[[str], Awaitable[None]],
        failpoints: Failpoints | None = None,
    ) -> None:
        self._clock, self._inbox, self._metrics = clock, inbox, metrics
        self._assignments, self._observers, self._prober = assignments, observers, prober
        self._publisher, self._stories, self._stand_down = publisher, stories, stand_down
        self._failpoints = failpoints or Failpoints()
        self._running: dict[tuple[object, ...], asyncio.Task[None]] = {}
        self._wanted: dict[ClusterName, WantedNames] = {}
        self._isolated: dict[ClusterName, bool] = {}
        """Of every cluster of this term: whether its newest decision wants to stand down."""
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled: the place where the tasks live, and where an unforeseen failure comes out."""
        async with asyncio.TaskGroup() as self._tasks:
            await asyncio.Event().wait()

    def start(self, case: Case, decision: Decision) -> Coroutine[Any, Any, None] | None:
        """Hand everything over; what is returned must be awaited (by a failpoint alone, there is something to await)."""
        new = case.dispatched_revision != case.revision and bool(decision.assignments)
        if new:
            self._failpoints.before_dispatch(case.tags)
        if decision.assignments and decision.assignments is not case.offered:
            case.offered = decision.assignments
            self._assignments.offer(case.cluster, decision.assignments)
            self._keep_warm(case)
        if decision.effects:
            wants_out = any(isinstance(effect, StandDown) for effect in decision.effects)
            self._isolated[case.cluster] = wants_out
            for effect in decision.effects:
                self._perform(case.cluster, effect)
        else:
            self._isolated[case.cluster] = False
        if not new:
            return None
        case.dispatched_revision = case.revision
        if self._failpoints.watches_dispatch:
            return self._watched(case)
        return None

    async def _watched(self, case: Case) -> None:
        await self._until_written(case.cluster)
        self._failpoints.after_dispatch(case.tags)

    def end_term(self) -> None:
        """Cancel everything that was begun in it."""
        for task in self._running.values():
            task.cancel()
        self._running.clear()
        self._wanted.clear()
        self._isolated.clear()
        self._assignments.close_all()

    # ---- kinds of effects ----

    def _perform(self, cluster: ClusterName, effect: Effect) -> None:
        match effect:
            case Story():
                self._stories.tell(cluster, effect)
            case PublishNames(wanted=wanted):
                if not _same_words(self._wanted.get(cluster), wanted):
                    self._cancel("names", cluster)
                self._wanted[cluster] = wanted
                self._once(self._publish(cluster, wanted), "names", cluster)
            case AskObservers(member=member, within_ms=within_ms):
                for node in self._observers.names():
                    self._once(
                        self._ask(cluster, node, member, within_ms), "observers", cluster, member, node
                    )
            case ProbeSql(member=member):
                self._once(self._probe(cluster, effect), "probe", cluster, member)
            case StandDown(text=text):
                if self._is_isolated:
                    self._once(self._give_up(text), "stand_down")
            case unknown:
                assert_never(unknown)

    async def _publish(self, cluster: ClusterName, wanted: WantedNames) -> None:
        def say(answer: NamesAnswered) -> None:
            self._metrics.effects.labels("names", answer.outcome.value).inc()
            self._inbox.put(cluster, answer)

        await self._publisher.publish(wanted, say)

    async def _ask(self, cluster: ClusterName, node: str, member: MemberName, within_ms: int) -> None:
        answer = await self._observers.ask(node, cluster, member, within_ms)
        self._metrics.effects.labels(
            "observers", "answered" if isinstance(answer, ObserverAnswered) else "failed"
        ).inc()
        self._inbox.put(cluster, answer)

    async def _probe(self, cluster: ClusterName, effect: ProbeSql) -> None:
        answer = await self._prober.probe(effect.address, effect.port, effect.within_ms)
        self._metrics.effects.labels("probe", answer.value).inc()
        self._inbox.put(cluster, SqlProbed(self._clock.now(), effect.member, answer))

    async def _give_up(self, text: str) -> None:
        log.warning("leadership.given_up", reason=text)
        await self._stand_down(text)

    @property
    def _is_isolated(self) -> bool:
        """From more than half of the clusters: for one that it can't hear, a leader does not leave the others."""
        return 2 * sum(self._isolated.values()) > len(self._isolated)

    # ---- bookkeeping ----

    def _once(self, work: Coroutine[Any, Any, None], kind: str, *key: object) -> None:
        """Not beside another one of the same kind and key."""
        full = (kind, *key)
        if full in self._running or self._tasks is None:
            work.close()
            return
        task = self._tasks.create_task(self._timed(kind, work), name=":".join(map(str, full)))
        self._running[full] = task
        task.add_done_callback(lambda done: self._forget(full, done))

    def _forget(self, full: tuple[object, ...], done: asyncio.Task[None]) -> None:
        if self._running.get(full) is done:
            del self._running[full]

    def _cancel(self, kind: str, *key: object) -> None:
        task = self._running.pop((kind, *key), None)
        if task is not None:
            task.cancel()

    async def _timed(self, kind: str, work: Coroutine[Any, Any, None]) -> None:
        began = self._clock.now()
        try:
            await work
        finally:
            self._metrics.effect_seconds.labels(kind).observe((self._clock.now() - began) / (1000 * MS_US))

    def _keep_warm(self, case: Case) -> None:
        record = case.record
        primary = record.member(record.primary) if record is not None else None
        if primary is not None:
            self._prober.keep_warm(case.cluster, primary.address, primary.port)

    async def _until_written(self, cluster: ClusterName) -> None:
        try:
            async with asyncio.timeout(FAILPOINT_WAITS_S):
                await self._assignments.written(cluster)
                await asyncio.sleep(0.01)  # from gRPC's buffer into the socket
        except TimeoutError:
            log.warning("failpoint.assignments_not_written", cluster=cluster)


def _same_words(a: WantedNames | None, b: WantedNames) -> bool:
    """Only the revision of the record differs: what is under way may go on."""
    return a is not None and (a.epoch, a.primary, a.replicas) == (b.epoch, b.primary, b.replicas)
