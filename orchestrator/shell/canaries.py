"""The leader's canaries: one for each cluster that asks for it, begun and ended with the term.

What they hear goes three ways: the metrics, the status, and the incident that it belongs to (core.outages). It
never reaches an engine. A canary that fails is begun anew after a pause, and the leader does not notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from common.clock import Clock
from common.errors import FailoverError
from common.ids import ClusterName
from common.timebase import Instant, elapsed_ms
from orchestrator.core import outages
from orchestrator.core.effects import Story
from orchestrator.core.gaps import Acknowledgements, Gap, acknowledged, open_gap, turned_away
from orchestrator.core.names import primary_name
from orchestrator.core.outages import CanaryOutage, Windows
from orchestrator.core.spec import ClusterSpec
from orchestrator.core.status import CanaryLine
from orchestrator.ports import CanaryTarget, CanaryWriter
from orchestrator.shell.case import Case
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger()

CANARIES_MAX = 10
"""Fifty commits a second each, and a process: some four percent of a core and 25 MB on the leader's host."""
LOOK_EVERY_S = 0.1
AGAIN_AFTER_S = 1.0
WRITES_WITHIN_MS = 1_000
"""Acknowledged longer ago, the canary counts as waiting."""

Measured = Callable[[ClusterName, CanaryOutage], None]


@dataclass(slots=True)
class Canary:
    """Of one cluster, for one term; the ear of its writer."""

    cluster: ClusterName
    clock: Clock
    metrics: Metrics
    measured: Measured
    state: Acknowledgements = field(init=False)
    windows: Windows = ()
    longest: Gap | None = None
    trouble: str = ""
    target: CanaryTarget | None = None
    task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.state = Acknowledgements(self.clock.now())

    def acknowledged(self, at: Instant, begun_at: Instant, stalled_us: int) -> None:
        self.metrics.canary_attempts.labels(self.cluster, "write", "acknowledged").inc()
        self.metrics.canary_write_seconds.labels(self.cluster).observe((at - begun_at) / 1_000_000)
        self.state, gap = acknowledged(self.state, at, stalled_us=stalled_us)
        self.trouble = ""
        if gap.seen_whole and (self.longest is None or gap.at_least_ms > self.longest.at_least_ms):
            self.longest = gap
            self.metrics.canary_longest_gap_seconds.labels(self.cluster).set(gap.at_least_ms / 1000)
        self.windows, told = outages.met(self.windows, gap)
        self._tell(told)

    def failed(self, what: str, outcome: str, turned_away_at: Instant, text: str, stalled_us: int) -> None:
        self.metrics.canary_attempts.labels(self.cluster, what, outcome).inc()
        self.state = turned_away(self.state, turned_away_at, stalled_us=stalled_us)
        self.trouble = text
        self.windows, told = outages.still(self.windows, self.gap)
        self._tell(told)

    def hear(self, story: Story) -> None:
        self.windows, told = outages.heard(self.windows, story.epoch, story.name, self.clock.now())
        self._tell(() if told is None else (told,))

    @property
    def gap(self) -> Gap:
        return open_gap(self.state, self.clock.now(), stalled_us=self.state.stalled_us)

    def line(self) -> CanaryLine:
        now, last_at, longest = self.clock.now(), self.state.last_at, self.longest
        age_ms = None if last_at is None else elapsed_ms(since=last_at, now=now)
        writes = age_ms is not None and age_ms <= WRITES_WITHIN_MS
        return CanaryLine(
            state="writing" if writes else "waiting",
            acknowledged_age_ms=age_ms,
            longest_gap_ms=None if longest is None else longest.at_least_ms,
            longest_gap_age_ms=None if longest is None else elapsed_ms(since=longest.ended_at, now=now),
            text="" if writes else self.trouble,
        )

    def _tell(self, told: tuple[CanaryOutage, ...]) -> None:
        for outage in told:
            self.measured(self.cluster, outage)


class Canaries:
    def __init__(
        self,
        *,
        clock: Clock,
        cases: Mapping[ClusterName, Case],
        leads: Callable[[], bool],
        writer: CanaryWriter,
        measured: Measured,
        metrics: Metrics,
    ) -> None:
        self._clock, self._cases, self._leads, self._writer = clock, cases, leads, writer
        self._measured, self._metrics = measured, metrics
        self._running: dict[ClusterName, Canary] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._follow(group)
                await asyncio.sleep(LOOK_EVERY_S)

    def told(self, cluster: ClusterName, story: Story) -> None:
        """Every story of this leader."""
        canary = self._running.get(cluster)
        if canary is None and len(self._running) < CANARIES_MAX and self._wants(cluster):
            canary = self._running[cluster] = self._made(cluster)  # told before it was begun
        if canary is not None:
            canary.hear(story)

    def line(self, cluster: ClusterName) -> CanaryLine | None:
        """For the status; None where the cluster asks for no canary."""
        if not self._wants(cluster):
            return None
        canary = self._running.get(cluster)
        if canary is not None:
            return canary.line()
        full = len(self._running) >= CANARIES_MAX
        text = f"a leader runs {CANARIES_MAX} canaries at the most" if full else "it begins with the leader"
        return CanaryLine("not run", None, None, None, text)

    def _wants(self, cluster: ClusterName) -> bool:
        case = self._cases.get(cluster)
        return case is not None and case.spec is not None and case.spec.canary

    def _follow(self, group: asyncio.TaskGroup) -> None:
        leads = self._leads()
        for cluster in [cluster for cluster in self._running if not leads or not self._wants(cluster)]:
            self._end(self._running.pop(cluster))
        if not leads:
            return
        for cluster in sorted(self._cases):
            spec = self._cases[cluster].spec
            if spec is None or not spec.canary:
                continue
            canary = self._running.get(cluster)
            if canary is None:
                if len(self._running) >= CANARIES_MAX:
                    continue
                canary = self._running[cluster] = self._made(cluster)
            target = target_of(spec)
            if canary.task is None or canary.target != target:
                if canary.task is not None:
                    canary.task.cancel()
                canary.target = target
                canary.task = group.create_task(self._write(target, canary))
                log.info("canary.begun", cluster=cluster, name=target.name)
            self._metrics.canary_gap_seconds.labels(cluster).set(canary.gap.length_ms / 1000)

    def _made(self, cluster: ClusterName) -> Canary:
        return Canary(cluster, self._clock, self._metrics, self._measured)

    def _end(self, canary: Canary) -> None:
        if canary.task is not None:
            canary.task.cancel()
        for gauge in (self._metrics.canary_gap_seconds, self._metrics.canary_longest_gap_seconds):
            gauge.remove(canary.cluster)
        log.info("canary.ended", cluster=canary.cluster)

    async def _write(self, target: CanaryTarget, canary: Canary) -> None:
        while True:
            try:
                await self._writer.run(target, canary)
            except (FailoverError, OSError, ValueError) as error:
                log.warning("canary.failed", cluster=target.cluster, error=repr(error))
                canary.trouble = str(error)
            await asyncio.sleep(AGAIN_AFTER_S)


def target_of(spec: ClusterSpec) -> CanaryTarget:
    return CanaryTarget(
        cluster=spec.name,
        name=primary_name(spec.name, spec.zone),
        zone=spec.zone.rstrip(".").lower(),
        default_port=spec.members[0].port,
        ports={address: member.port for member in spec.members for address in member.addresses},
    )
