"""Who becomes the primary of this epoch? (protocol.md, R3, R5)

Pure. Every member but the best is refused with a reason and the measured value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.assignment import HistoryStep, Position
from common.facts import PostgresState, SealReport
from common.ids import MemberName
from common.rule import Rule, Voter, quorum
from orchestrator.core.reasons import Ranking, Refusal, Refused
from orchestrator.core.record import MemberRecord, Record
from orchestrator.core.view import ClusterView


@dataclass(frozen=True, slots=True)
class Choice:
    ranking: Ranking
    position: Position | None = None
    rule: Rule | None = None
    """R_new."""


def history_of(record: Record, timeline: int) -> tuple[HistoryStep, ...] | None:
    """The lineage of a timeline that took effect; None when the record does not know it."""
    if timeline == record.timeline:
        return record.history
    for i, step in enumerate(record.history):
        if step.timeline == timeline:
            return record.history[:i]
    return None


def attaches(other: Position, candidate: Position, history: Iterable[HistoryStep]) -> bool:
    """Whether a member at `other` can follow one that is promoted at `candidate`, as it is (R5)."""
    if other.timeline == candidate.timeline:
        return other.end_lsn <= candidate.end_lsn
    return any(step.timeline == other.timeline and other.end_lsn <= step.switch_lsn for step in history)


def choose(
    record: Record,
    view: ClusterView,
    sealed: Mapping[Voter, SealReport],
    bounds: Iterable[Position],
    *,
    k: int,
    to: MemberName | None,
) -> Choice:
    """The best sealed member at or above every bound, and R_new for it."""
    least = max(bounds, default=None)
    refused: list[Refused] = []
    fit: list[MemberRecord] = []
    for member in record.members:
        refusal = _refusal(member, sealed.get(member.voter), least)
        if refusal is None:
            fit.append(member)
        else:
            refused.append(refusal)
    if not fit:
        return Choice(Ranking(None, tuple(refused)))
    site = _site_of(record)
    ranked = sorted(fit, key=lambda m: _rank(m, record, view, sealed, k=k, to=to, site=site))
    best = ranked[0]
    refused.extend(_ranked_lower(best, m, record, sealed, k=k, to=to) for m in ranked[1:])
    return Choice(
        Ranking(best.name, tuple(sorted(refused, key=lambda r: r.member))),
        sealed[best.voter].position,
        _r_new(best, record, view, sealed, k),
    )


def _refusal(member: MemberRecord, seal: SealReport | None, least: Position | None) -> Refused | None:
    if member.nofailover:
        return Refused(member.name, Refusal.NOFAILOVER, "nofailover is set in the cluster's file")
    if seal is None:
        return Refused(member.name, Refusal.NOT_SEALED, "did not report a seal for this epoch")
    if seal.damaged:
        return Refused(
            member.name,
            Refusal.DAMAGED,
            f"its WAL ends at {seal.end_lsn}, but {seal.flushed_lsn} was flushed",
        )
    if least is not None and seal.position < least:
        return Refused(member.name, Refusal.BELOW_BOUND, f"is at {seal.position}, the bound is {least}")
    return None


def _followers(
    candidate: MemberRecord, record: Record, sealed: Mapping[Voter, SealReport]
) -> tuple[MemberRecord, ...]:
    at = sealed[candidate.voter].position
    history = history_of(record, at.timeline) or ()
    return tuple(
        m
        for m in record.members
        if m.name != candidate.name
        and not m.nofailover
        and m.voter in sealed
        and not sealed[m.voter].damaged
        and attaches(sealed[m.voter].position, at, history)
    )


def _rank(
    member: MemberRecord,
    record: Record,
    view: ClusterView,
    sealed: Mapping[Voter, SealReport],
    *,
    k: int,
    to: MemberName | None,
    site: str,
) -> tuple[object, ...]:
    """Lowest first. The outgoing primary, and a candidate given up before, only if nobody else will do."""
    seal = sealed[member.voter]
    gave_up = any(prior.primary == member.name for prior in record.prior)
    facts = view.member(member.name).facts
    backlog_bytes = facts.replay_backlog_bytes if facts is not None else 0
    return (
        gave_up or member.name == record.primary,
        to is not None and member.name != to,
        -min(k, len(_followers(member, record, sealed))),
        -member.priority,
        member.site != site,
        backlog_bytes // _BACKLOG_STEP_BYTES,
        -seal.position.timeline,
        -seal.position.end_lsn,
        member.name,
    )


_BACKLOG_STEP_BYTES = 1024 * 1024
"""A difference in replay backlog below this costs less than three milliseconds, and does not count."""


def _site_of(record: Record) -> str:
    primary = record.member(record.primary)
    return "" if primary is None else primary.site


def _ranked_lower(
    best: MemberRecord,
    other: MemberRecord,
    record: Record,
    sealed: Mapping[Voter, SealReport],
    *,
    k: int,
    to: MemberName | None,
) -> Refused:
    """What told them apart, in the order of `_rank`."""
    given_up = [prior.epoch for prior in record.prior if prior.primary == other.name]
    if given_up and other.name != record.primary:
        text = f"{best.name} is preferred: {other.name} was given up in epoch {given_up[-1]}"
        return Refused(other.name, Refusal.GAVE_UP_BEFORE, text)
    why = _preference(best, other, record, sealed, k=k, to=to)
    return Refused(other.name, Refusal.RANKED_LOWER, f"{best.name} is preferred: {why}")


def _preference(
    best: MemberRecord,
    other: MemberRecord,
    record: Record,
    sealed: Mapping[Voter, SealReport],
    *,
    k: int,
    to: MemberName | None,
) -> str:
    if other.name == record.primary:
        return f"{other.name} is the outgoing primary"
    if best.name == to:
        return "it was asked for"
    with_best, with_other = (min(k, len(_followers(m, record, sealed))) for m in (best, other))
    if with_best != with_other:
        return f"{with_best} of the {k} wanted could follow it, {with_other} could follow {other.name}"
    if best.priority != other.priority:
        return f"priority {best.priority} against {other.priority}"
    mine, theirs = sealed[best.voter].position, sealed[other.voter].position
    if mine != theirs:
        return f"position {mine} against {theirs}"
    return "by site, replay backlog or name"


def _r_new(
    best: MemberRecord, record: Record, view: ClusterView, sealed: Mapping[Voter, SealReport], k: int
) -> Rule:
    """Sealed members that can attach as they are; those that would have to be started first only if
    there are not k others. Solo only when no other sealed member can attach."""
    able = _followers(best, record, sealed)
    running = [m for m in able if view.member(m.name).postgres is PostgresState.STANDBY]
    chosen = running if len(running) >= k else list(able)
    return quorum((m.voter for m in chosen), k)
