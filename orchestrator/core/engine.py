"""One cluster's engine: events in, a decision out; the only thing that the shell holds of the core.

Pure. `Engine` keeps the newest view between turns and nothing else; the deciding is `decide.py`.
The same class runs in the daemon and in the simulator.
"""

from __future__ import annotations

from msgspec.structs import replace

from common.assignment import Assignment
from common.ids import ClusterName
from common.timebase import Instant, after_ms
from orchestrator.core.assign import assignments
from orchestrator.core.decide import decide, profile_of
from orchestrator.core.decision import Decision, Grant, Listened
from orchestrator.core.describe import describe
from orchestrator.core.effects import AskObservers
from orchestrator.core.events import Event
from orchestrator.core.invariants import check
from orchestrator.core.move import Move
from orchestrator.core.observe import observe
from orchestrator.core.reasons import Reason
from orchestrator.core.record import Phase, Record
from orchestrator.core.status import ClusterStatus
from orchestrator.core.stories import is_whole
from orchestrator.core.view import ClusterView, Suspicion


class Engine:
    def __init__(self, cluster: ClusterName) -> None:
        self.cluster = cluster
        self.view = ClusterView()
        self._assigned: tuple[Record, int, tuple[Assignment, ...]] | None = None

    def feed(self, event: Event) -> None:
        """Fold an event into the view. Never fails on old news: it is dropped."""
        self.view = observe(self.view, event)

    def turn(self, now: Instant) -> Decision:
        """What to do now. While not leading: reasons only.

        Raise InvariantBroken where the next record would break a safety rule.
        """
        move = decide(self.view, now)
        if move.record is not None:
            check(self.view.record, move.record)
        self._remember(move, now)
        again_at = None if move.again_after_ms is None else after_ms(now, max(1, move.again_after_ms))
        return Decision(
            reasons=move.reasons,
            record=move.record,
            assignments=() if move.record is not None else self._assignments(move),
            effects=move.effects,
            ranking=move.ranking,
            grant=self._grant(move),
            again_at_us=again_at,
            listened=self._listened(move),
        )

    def status(self, now: Instant) -> ClusterStatus:
        """For people; `leader` is filled in by the shell."""
        return describe(self.cluster, self.view, now)

    def is_whole(self, now: Instant) -> bool:
        """As `status` says it, without all the rest."""
        view = self.view
        return (
            view.record is not None and view.spec is not None and is_whole(view.record, view, view.spec, now)
        )

    def _assignments(self, move: Move) -> tuple[Assignment, ...]:
        record = self.view.record
        if self.view.leading is None or record is None or _stopped(move):
            return ()
        # The same for as long as the record stands: a function of one version of it (R7).
        known = self._assigned
        if known is None or known[0] is not record or known[1] != self.view.revision:
            known = self._assigned = (record, self.view.revision, assignments(record, self.view.revision))
        return known[2]

    def _grant(self, move: Move) -> Grant | None:
        """Only for the epoch that stands, and not for one that is being left ("Staying up" a)."""
        record = self.view.record
        if self.view.leading is None or record is None or record.primary is None or _stopped(move):
            return None
        if record.phase is not Phase.STABLE:
            return None
        if move.record is not None and move.record.epoch != record.epoch:
            return None
        return Grant(record.primary, record.epoch, profile_of(self.view).lease_ms)

    def _listened(self, move: Move) -> Listened | None:
        if move.listens_to is None:
            return None
        heard_at = self.view.member(move.listens_to).heard_at
        return None if heard_at is None else Listened(move.listens_to, heard_at)

    def _remember(self, move: Move, now: Instant) -> None:
        """What the next turn must know of this one: asked witnesses, told stories, answered people."""
        view = self.view
        asked_for = next((e.member for e in move.effects if isinstance(e, AskObservers)), None)
        if asked_for is not None and view.leading is not None:
            known = (
                view.suspicion if view.suspicion is not None and view.suspicion.member == asked_for else None
            )
            suspicion = Suspicion(
                asked_for,
                now if known is None else known.since,
                now,
                frozenset(view.leading.other_nodes),
                None if known is None else known.heard_elsewhere_at,
                None if known is None else known.sql,
            )
            view = replace(view, suspicion=suspicion)
        if move.told:
            view = replace(view, told=view.told | frozenset(move.told))
        if move.stuck is not None:
            view = replace(view, stuck=move.stuck)
        if move.answered:
            answered = frozenset(move.answered)
            view = replace(view, asked=tuple(a for a in view.asked if a.operation not in answered))
        awaited = any(b.reason is Reason.BETTER_CANDIDATE_AWAITED for b in move.reasons)
        if awaited and view.sealed_enough_at is None:
            view = replace(view, sealed_enough_at=now)
        self.view = view


def _stopped(move: Move) -> bool:
    """R14: a leader that stopped for this cluster gives no orders and no leases."""
    return any(b.reason in (Reason.FOREIGN_ETCD, Reason.RECORD_WENT_BACK) for b in move.reasons)
