"""Whose turn it is: who has news, who is due, who is not calm; of the calm ones some at each tick.

A tick that made every cluster of a large fleet decide would cost more than a core. A calm cluster has nothing to
decide before its own time (`again_at`, when its primary's silence is long enough) or news; the tick is a floor below
that, so it comes by in turn, a few at a time. With no more clusters than those few, that is all of them. Nor does it
decide at its own time, where everybody was heard meanwhile and said nothing new: then that time moves on.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from common.ids import ClusterName
from common.timebase import Instant, elapsed_ms
from orchestrator.shell.case import Case

CALM_AT_A_TICK = 100
"""Of a calm fleet, four ticks a second. More: whatever nothing else wakes for is seen sooner, for more CPU."""
CALM_EVERY_MS = 4_000
"""Where that would take longer, each calm cluster has a turn this often all the same. Longer: a voter that is lost is
noticed later, and beats are too far apart to be told from an absence (`observe._GAP_OUTLIER_US`)."""
TICK_MS = 250
_LONG_AGO = Instant(0)


class Turns:
    def __init__(
        self,
        cases: Mapping[ClusterName, Case],
        moved_on: Callable[[Case, Instant], Instant | None] = lambda _case, _now: None,
    ) -> None:
        """`moved_on`: until when the alarm of this one may wait, without a turn."""
        self._cases, self._moved_on = cases, moved_on
        self._alarms: list[tuple[Instant, ClusterName]] = []
        """A heap; one that differs from its case's `again_at` by now is no alarm any more."""
        self._busy: set[ClusterName] = set()
        self._restless: set[ClusterName] = set()
        self._round: deque[ClusterName] = deque()
        self._met: set[ClusterName] = set()
        self._went_on_at = _LONG_AGO

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
            case = self._cases[cluster]
            later = None if cluster in found else self._moved_on(case, now)
            if later is None:
                found[cluster] = None
            else:
                case.again_at = later
                heapq.heappush(self._alarms, (later, cluster))
        if is_tick:
            for cluster in sorted(self._restless):
                found[cluster] = None
            for cluster in self._some_calm(now):
                found[cluster] = None
        return [self._cases[cluster] for cluster in found]

    def _some_calm(self, now: Instant) -> list[ClusterName]:
        if len(self._met) != len(self._cases):
            new = [cluster for cluster in self._cases if cluster not in self._met]
            self._met.update(new)
            self._round.extend(new)
        count = len(self._round)
        if count > CALM_AT_A_TICK:  # by time: while something is under way, ticks come more often
            share_ms = min(TICK_MS, elapsed_ms(since=self._went_on_at, now=now))
            count = max(count * share_ms // CALM_EVERY_MS, CALM_AT_A_TICK * share_ms // TICK_MS)
            self._went_on_at = now
        some = [self._round[place] for place in range(count)]
        self._round.rotate(-len(some))
        return some
