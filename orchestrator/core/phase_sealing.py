"""SEALING: collect seals, resolve the priors, choose the candidate (protocol.md, R1 to R4).

Pure.
"""

from __future__ import annotations

from msgspec.structs import replace

from common.facts import PostgresState, SealReport
from common.ids import MemberName
from common.profile import Profile
from common.timebase import Instant, elapsed_ms
from orchestrator.core.candidates import Choice, choose
from orchestrator.core.effects import Story
from orchestrator.core.move import Move
from orchestrator.core.quorum import Resolution, resolve_all, sealed_voters, with_bounds
from orchestrator.core.reach import can_seal
from orchestrator.core.reasons import Because, Reason
from orchestrator.core.record import Phase, Record
from orchestrator.core.spec import ClusterSpec
from orchestrator.core.view import ClusterView

_POOR_CHOICE_PATIENCE = 40
"""So many times longer are further seals awaited before the outgoing primary itself is promoted again, or
somebody else than the one meant, or one that would have to write alone."""
_NOTE_AFTER_MS = 250
_START_PATIENCE = 8
"""So many times longer before a rule is taken whose voters would all have to be started first: that costs
more than the seal of one that runs."""
_HANDOVER_GRACE_MS = 1_000
"""Beyond the time that the agent itself gives a clean stop: for its report to travel."""


def sealing(record: Record, view: ClusterView, spec: ClusterSpec, now: Instant, profile: Profile) -> Move:
    seals = known_seals(record, view)
    noted = replace(record, seals=tuple(sorted(seals.items())))
    if record.handover is not None and record.handover.waiting:
        return _handover(noted, record, view, now, profile)
    waited_ms = elapsed_ms(since=view.phase_since, now=now)
    sealed = sealed_voters(noted, seals)
    resolutions = resolve_all(record.prior, sealed)
    open_ones = [r for r in resolutions if r.bound is None]
    if open_ones:
        return _note(noted, record, tuple(_awaited(r) for r in open_ones), waited_ms)
    to = record.handover.to if record.handover is not None else None
    bounds = [r.bound for r in resolutions if r.bound is not None]
    choice = choose(noted, view, sealed, bounds, k=spec.k, to=to)
    if choice.ranking.best is None:
        text = "; ".join(f"{r.member}: {r.text}" for r in choice.ranking.refused)
        move = _note(noted, record, (Because(Reason.NO_CANDIDATE_MEETS_THE_BOUNDS, None, text),), waited_ms)
        return replace(move, ranking=choice.ranking)
    waiting_ms = _better_may_come(noted, view, now, profile, choice, to)
    if waiting_ms > 0:
        text = f"R2 holds; further seals are awaited for {waiting_ms} ms"
        return replace(
            _note(noted, record, (Because(Reason.BETTER_CANDIDATE_AWAITED, None, text),), waited_ms),
            ranking=choice.ranking,
            again_after_ms=waiting_ms,
        )
    assert choice.rule is not None
    chosen = replace(
        noted,
        phase=Phase.PROMOTING,
        candidate=choice.ranking.best,
        candidate_position=choice.position,
        timeline_max=record.timeline_max + 1,
        rules=(choice.rule,),
        prior=with_bounds(resolutions),
    )
    refusals = "; ".join(f"{r.member}: {r.text}" for r in choice.ranking.refused)
    text = (
        f"{choice.ranking.best} at {choice.position} becomes the primary, on timeline {chosen.timeline_max}, "
        f"under {choice.rule}" + (f"; not chosen: {refusals}" if refusals else "")
    )
    story = Story(
        record.epoch,
        "promoting",
        text,
        _operation(record),
        choice.ranking.best,
        refused=choice.ranking.refused,
    )
    return Move(
        (Because(Reason.CANDIDATE_CHOSEN, choice.ranking.best, text),), chosen, (story,), choice.ranking
    )


def known_seals(record: Record, view: ClusterView) -> dict[MemberName, SealReport]:
    """Those in the record, and those that the members report; of this epoch and the record's incarnations."""
    seals = dict(record.seals)
    for member in record.members:
        facts = view.member(member.name).facts
        known = seals.get(member.name)
        if facts is None or facts.seal is None or (known and known.incarnation == member.incarnation):
            continue
        if facts.seal.epoch == record.epoch and facts.seal.incarnation == member.incarnation:
            seals[member.name] = facts.seal
    return seals


def _handover(noted: Record, record: Record, view: ClusterView, now: Instant, profile: Profile) -> Move:
    """The primary first, by a clean stop; the others when it has stopped or its time is up."""
    assert record.handover is not None
    assert record.primary is not None
    own = noted.seal_of(record.primary)
    limit_ms = profile.drain_within_ms + _HANDOVER_GRACE_MS
    waited_ms = elapsed_ms(since=view.phase_since, now=now)
    if own is None and waited_ms < limit_ms:
        because = Because(
            Reason.SEALING_WAITS_FOR_PRIMARY, record.primary, f"for {waited_ms} of {limit_ms} ms"
        )
        return Move((because,), again_after_ms=limit_ms - waited_ms)
    next_record = replace(noted, handover=replace(record.handover, waiting=False))
    if own is not None:
        how = "cleanly" if own.clean else "at once"
        text = f"{record.primary} stopped {how} and is sealed at {own.position}"
        because = Because(Reason.SEAL_NOTED, record.primary, text)
        name = "primary stopped"
    else:
        text = f"{record.primary} did not stop within {waited_ms} ms: everyone seals now"
        because = Because(Reason.HANDOVER_TIME_IS_UP, record.primary, text)
        name = "handover timed out"
    return Move(
        (because,), next_record, (Story(record.epoch, name, text, _operation(record), record.primary),)
    )


def _note(noted: Record, record: Record, because: tuple[Because, ...], waited_ms: int) -> Move:
    """A sealed voter's disk may die after its report: the report is kept in the record.

    Not at once: mostly the next seal, a few milliseconds later, allows the promotion, which keeps them all;
    each write before it costs every member another durable version.
    """
    if noted.seals == record.seals:
        return Move(because)
    if waited_ms < _NOTE_AFTER_MS:
        return Move(because, again_after_ms=_NOTE_AFTER_MS - waited_ms)
    new = sorted(set(dict(noted.seals)) - set(dict(record.seals)))
    text = ", ".join(f"{name} at {noted.seal_of(name).position}" for name in new)  # type: ignore[union-attr]
    awaited = "".join(f"; {b.text}" for b in because if b.reason is Reason.SEALS_AWAITED)
    story = Story(record.epoch, "sealed", f"sealed: {text}{awaited}", _operation(record))
    return Move((Because(Reason.SEAL_NOTED, None, text), *because), noted, (story,))


def _awaited(resolution: Resolution) -> Because:
    return Because(Reason.SEALS_AWAITED, resolution.prior.primary, f"missing: {resolution.missing}")


def _better_may_come(
    noted: Record, view: ClusterView, now: Instant, profile: Profile, choice: Choice, to: MemberName | None
) -> int:
    """How many more milliseconds other seals are awaited; 0 when nobody who answers is missing."""
    assert choice.rule is not None
    best = choice.ranking.best
    # One that was given up before would be tried again, and mostly fail again: then also the outgoing primary is
    # waited for, whose seal takes longer than that of a standby. Else it would never be there in time to be chosen.
    gave_up = best != noted.primary and any(prior.primary == best for prior in noted.prior)
    poor = best == noted.primary or gave_up or not choice.rule.waits or to not in (None, best)
    stopped = all(view.member(v.member).postgres is not PostgresState.STANDBY for v in choice.rule.voters)
    if not poor and not stopped and to is not None:
        return 0
    missing = [
        m
        for m in noted.members
        if m.name != best
        and noted.seal_of(m.name) is None
        and (m.name != noted.primary or gave_up)
        and can_seal(m, view.member(m.name), now, profile)
    ]
    if not missing:
        return 0
    since = view.sealed_enough_at if view.sealed_enough_at is not None else now
    patience = _POOR_CHOICE_PATIENCE if poor else _START_PATIENCE if stopped else 1
    patience_ms = profile.further_seals_ms * patience
    return max(0, patience_ms - elapsed_ms(since=since, now=now))


def _operation(record: Record) -> str:
    return record.operation.id if record.operation is not None else ""
