"""Whose turn it is: who has news, who is due, who is not calm; of the calm ones some at each tick.

A tick that made every cluster of a large fleet decide would cost more than a core. A calm cluster has nothing to
decide before its own time (`again_at`, when its primary's silence is long enough) or news; the tick is a floor below
that, so it comes by in turn, a few at a time. With no more clusters than those few, that is all of them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence

from common.ids import ClusterName
from common.timebase import Instant
from orchestrator.shell.case import Case

CALM_AT_A_TICK = 100
"""More: whatever nothing else wakes for is seen sooner, for more CPU. At four ticks a second, of 3,000 calm clusters
each has a turn at least every eight seconds, and when its primary has not been looked at for as long as it may be
silent."""


class Turns:
    def __init__(self, cases: Mapping[ClusterName, Case]) -> None:
        self._cases = cases
        self._alarms: list[tuple[Instant, ClusterName]] = []
        """A heap; one that differs from its case's `again_at` by now is no alarm any more."""
        self._busy: set[ClusterName] = set()
        self._restless: set[ClusterName] = set()
        self._round: deque[ClusterName] = deque()
        self._met: set[ClusterName] = set()

    @property
    def any_busy(self) -> bool:
        return bool(self._busy)

    def note(self, case: Case) -> None:
        """After each decision, and whatever else changed when the case is to be looked at again."""
        cluster = case.cluster
        if case.again_at is not None:
            heapq.heappush(self._alarms, (case.again_at, cluster))
        (self._busy.add if case.is_busy else self._busy.discard)(cluster)
        calm = case.is_calm and case.decision is not None
        (self._restless.discard if calm else self._restless.add)(cluster)

    def forget(self) -> None:
        """Nobody decides here any more."""
        self._alarms.clear()
        self._busy.clear()
        self._restless.clear()

    def next_at(self) -> Instant | None:
        """The nearest alarm."""
        while self._alarms:
            at, cluster = self._alarms[0]
            if self._cases[cluster].again_at == at:
                return at
            heapq.heappop(self._alarms)
        return None

    def due(self, now: Instant, urgent: Sequence[ClusterName], *, is_tick: bool) -> list[Case]:
        """In this order: with news, due by their own time, not calm, and of the calm ones those whose turn it is."""
        found = dict.fromkeys(cluster for cluster in urgent if cluster in self._cases)
        while (at := self.next_at()) is not None and at <= now:
            _, cluster = heapq.heappop(self._alarms)
            found[cluster] = None
        if is_tick:
            for cluster in sorted(self._restless):
                found[cluster] = None
            for cluster in self._some_calm():
                found[cluster] = None
        return [self._cases[cluster] for cluster in found]

    def _some_calm(self) -> list[ClusterName]:
        if len(self._met) != len(self._cases):
            new = [cluster for cluster in self._cases if cluster not in self._met]
            self._met.update(new)
            self._round.extend(new)
        some = [self._round[place] for place in range(min(CALM_AT_A_TICK, len(self._round)))]
        self._round.rotate(-len(some))
        return some
