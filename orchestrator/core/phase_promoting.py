"""PROMOTING: until the candidate's own facts show that it is the primary, or it is given up (R4, R5).

Pure.
"""

from __future__ import annotations

from msgspec.structs import replace

from common.assignment import HistoryStep
from common.facts import Facts, PostgresState, Promotion
from common.lsn import ZERO
from common.profile import Profile
from common.timebase import Instant, elapsed_ms
from orchestrator.core.candidates import history_of
from orchestrator.core.effects import Story
from orchestrator.core.leave import leave
from orchestrator.core.liveness import Liveness, classify
from orchestrator.core.move import Move
from orchestrator.core.reach import reach
from orchestrator.core.reasons import Because, Reason
from orchestrator.core.record import Operation, Phase, Record
from orchestrator.core.view import ClusterView, MemberView


def promoting(record: Record, view: ClusterView, now: Instant, profile: Profile) -> Move:
    assert record.candidate is not None
    candidate = record.candidate
    seen = view.member(candidate)
    facts = seen.facts
    if facts is not None and seen.is_current(record.the(candidate)) and facts.obeyed.epoch == record.epoch:
        done = _promotion(record, facts)
        if done is not None:
            history = _lineage(record, facts, done)
            if history is not None:
                return _promoted(record, done, history)
    why = _given_up(record, seen, view, now, profile)
    if not why:
        waited_ms = elapsed_ms(since=view.phase_since, now=now)
        because = Because(Reason.PROMOTION_AWAITED, candidate, f"for {waited_ms} of {_limit_ms(profile)} ms")
        return Move((because,), again_after_ms=max(1, _limit_ms(profile) - waited_ms))
    within = reach(record, view, now, profile)
    if within.why_not:
        return Move(
            (Because(Reason.CANDIDATE_GIVEN_UP, candidate, f"would be given up: {why}"), *within.why_not)
        )
    pause_ms = profile.restart_in_place_after_ms - elapsed_ms(since=view.phase_since, now=now)
    failed_before = any(prior.primary == candidate for prior in record.prior)
    if (failed_before or within.candidates == (candidate,)) and pause_ms > 0:
        # It was tried again because nobody else will do: not as fast as the record can be written.
        text = f"{why}; nobody better is left, the next try is in {pause_ms} ms"
        return Move((Because(Reason.CANDIDATE_GIVEN_UP, candidate, text),), again_after_ms=pause_ms)
    operation = record.operation or Operation("", "automatic", "candidate given up")
    text = f"{candidate} is given up: {why}"
    story = Story(record.epoch + 1, "candidate given up", text, operation.id, candidate)
    return Move((Because(Reason.CANDIDATE_GIVEN_UP, candidate, why),), leave(record, operation), (story,))


def _limit_ms(profile: Profile) -> int:
    return profile.promote_within_ms


def _promotion(record: Record, facts: Facts) -> Promotion | None:
    """Not in recovery, the allocated timeline, R_new in force with its first flushed commit."""
    done = facts.promotion
    if done is None or (done.epoch, done.timeline) != (record.epoch, record.timeline_max):
        return None
    if facts.postgres is not PostgresState.PRIMARY or done.first_commit_lsn == ZERO:
        return None
    return done


def _lineage(record: Record, facts: Facts, done: Promotion) -> tuple[HistoryStep, ...] | None:
    """The history of the new timeline: that of the one it forked off from, and the fork."""
    assert record.candidate_position is not None
    parent = record.candidate_position.timeline
    known = history_of(record, parent)
    if known is not None:
        return (*known, HistoryStep(parent, done.switch_lsn))
    # Measured before the promotion, or beside a beat from after it, it would be the parent's, and lack the fork.
    return facts.history if facts.history[-1:] == (HistoryStep(parent, done.switch_lsn),) else None


def _promoted(record: Record, done: Promotion, history: tuple[HistoryStep, ...]) -> Move:
    """`prior` stays until R_new's voters have the first record of the new timeline (R5, settled)."""
    assert record.candidate is not None
    stable = replace(
        record,
        phase=Phase.STABLE,
        primary=record.candidate,
        timeline=done.timeline,
        history=history,
        candidate=None,
        candidate_position=None,
        handover=None,
    )
    text = f"{record.candidate} is the primary of epoch {record.epoch}, on timeline {done.timeline} from {done.switch_lsn}"
    operation = record.operation.id if record.operation is not None else ""
    story = Story(record.epoch, "promoted", text, operation, record.candidate)
    return Move((Because(Reason.PROMOTED, record.candidate, text),), stable, (story,))


def _given_up(record: Record, seen: MemberView, view: ClusterView, now: Instant, profile: Profile) -> str:
    """Why the candidate can't be waited for any longer; empty while it can."""
    facts = seen.facts
    if facts is not None and facts.promotion_failed and facts.obeyed.epoch == record.epoch:
        return facts.promotion_failed
    if facts is not None and not seen.is_current(record.the(seen.name)):
        return "its state or its data directory was lost"
    live = classify(seen, now, profile, expected_every_ms=profile.beat_standby_every_ms)
    if live is Liveness.SILENT:
        return "it fell silent"
    waited_ms = elapsed_ms(since=view.phase_since, now=now)
    if waited_ms >= _limit_ms(profile):
        return f"not promoted within {_limit_ms(profile)} ms"
    return ""
