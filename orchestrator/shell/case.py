"""What the shell keeps of one cluster between turns: the engine, the record as stored, and when to go on.

Plain state; the loop alone writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from common.assignment import Assignment
from common.ids import ClusterName, MemberName
from common.timebase import Instant, after_ms
from orchestrator.core.decision import Decision
from orchestrator.core.engine import Engine
from orchestrator.core.reasons import Reason
from orchestrator.core.record import Phase, Record
from orchestrator.core.spec import ClusterSpec

PAUSE_MS_MIN = 100
PAUSE_MS_MAX = 1_000
_CALM = frozenset({Reason.PRIMARY_HEALTHY, Reason.PRIMARY_LATE, Reason.SETTLED, Reason.NO_RECORD})
"""One that is late has its alarm. A loop that is behind hears everybody late: if that gave everybody a turn at every
tick, it would stay behind."""
_LONG_AGO = Instant(0)


@dataclass(slots=True)
class Case:
    cluster: ClusterName
    engine: Engine
    spec: ClusterSpec | None = None
    record: Record | None = None
    revision: int = 0
    must_load: bool = True
    """The stored record is not known: nothing is decided before it was read."""
    is_unsettled: bool = False
    """A save of this term was not answered, and may land even after the record was read."""
    told_of_term: int = 0
    """The term that the engine was told we lead in; 0: none."""
    told_of_nodes: tuple[str, ...] = ()
    again_at: Instant | None = None
    pause_until: Instant = _LONG_AGO
    failures: int = 0
    decision: Decision | None = None
    dispatched_revision: int = 0
    offered: tuple[Assignment, ...] = ()
    """What was handed to the agents' streams last, in this term."""
    is_turning: bool = False
    """A turn of it waits for etcd: what comes meanwhile waits for the next one."""
    looked_at: Instant = _LONG_AGO
    """When it decided last."""
    tags: frozenset[str] = field(default_factory=frozenset)
    """Of the newest save, for the failpoints."""

    def failed(self, now: Instant) -> int:
        """etcd was not reached: wait, longer each time. Return the pause."""
        pause_ms = min(PAUSE_MS_MAX, PAUSE_MS_MIN << min(self.failures, 10))
        self.failures += 1
        self.pause_until = after_ms(now, pause_ms)
        return pause_ms

    def begins_a_term(self) -> None:
        """Nothing is known of what the term before left."""
        self.must_load, self.told_of_term, self.dispatched_revision, self.offered = True, 0, 0, ()
        self.is_unsettled = False  # under a term that is over nothing lands
        self.succeeded()

    def succeeded(self) -> None:
        self.failures, self.pause_until = 0, _LONG_AGO

    def moved_on(
        self, now: Instant, all_is_as_before: Callable[[ClusterName, MemberName], Instant | None]
    ) -> Instant | None:
        """Where nothing but the primary's silence was due, and everybody spoke: when its silence would be, from there."""
        decision = self.decision
        if decision is None or decision.listened is None or decision.again_at_us is None:
            return None
        if self.is_turning or self.must_load or self.failures or decision.record or not self.is_calm:
            return None
        heard_at = all_is_as_before(self.cluster, decision.listened.member)
        if heard_at is None:
            return None
        later = Instant(heard_at + decision.again_at_us - decision.listened.heard_at)
        return later if later > now else None

    @property
    def is_busy(self) -> bool:
        """Something is under way that should not wait for the slow tick."""
        record = self.record
        return record is not None and (
            record.phase is not Phase.STABLE or bool(record.prior) or len(record.rules) > 1
        )

    @property
    def is_calm(self) -> bool:
        """Nothing is under way and nothing is suspected."""
        reasons = self.decision.reasons if self.decision is not None else ()
        return not self.is_busy and {because.reason for because in reasons} <= _CALM
