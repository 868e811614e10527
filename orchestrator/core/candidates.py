"""Who becomes the primary of this epoch? (protocol.md, R3, R5)

Pure. Every member but the best is refused with a reason and the measured value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from common.assignment import HistoryStep, Position
from common.facts import PostgresState, SealReport
from common.ids import MemberName
from common.lsn import Lsn
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
        goes_on = member.name == record.primary
        refusal = _refusal(member, sealed.get(member.voter), least, goes_on=goes_on)
        if refusal is None:
            fit.append(member)
        else:
            refused.append(refusal)
    if not fit:
        return Choice(Ranking(None, tuple(refused)))
    ranks = {m.name: _rank(m, record, view, sealed, k=k, to=to) for m in fit}
    best = min(fit, key=lambda m: ranks[m.name])
    refused.extend(_ranked_lower(best, m, ranks, record, view, k=k) for m in fit if m != best)
    return Choice(
        Ranking(best.name, tuple(sorted(refused, key=lambda r: r.member))),
        sealed[best.voter].position,
        _r_new(best, record, view, sealed, k),
    )


def _refusal(
    member: MemberRecord, seal: SealReport | None, least: Position | None, *, goes_on: bool
) -> Refused | None:
    """`goes_on`: it is the outgoing primary, which takes nothing over."""
    if member.nofailover and not goes_on:
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


class _Rank(NamedTuple):
    """Lowest first; the first field that differs decides (R3)."""

    last_resort: bool
    """The outgoing primary, and a candidate given up before: only if nobody else will do."""
    not_asked_for: bool
    followers_missing: int
    """Of the k wanted."""
    negative_priority: int
    other_site: bool
    backlog_steps: int
    negative_timeline: int
    negative_end_lsn: int
    name: MemberName


def _rank(
    member: MemberRecord,
    record: Record,
    view: ClusterView,
    sealed: Mapping[Voter, SealReport],
    *,
    k: int,
    to: MemberName | None,
) -> _Rank:
    seal = sealed[member.voter]
    gave_up = any(prior.primary == member.name for prior in record.prior)
    return _Rank(
        last_resort=gave_up or member.name == record.primary,
        not_asked_for=to is not None and member.name != to,
        followers_missing=k - min(k, len(_followers(member, record, sealed))),
        negative_priority=-member.priority,
        other_site=member.site != _site_of(record),
        backlog_steps=_backlog_bytes(member, view) // _BACKLOG_STEP_BYTES,
        negative_timeline=-seal.position.timeline,
        negative_end_lsn=-seal.position.end_lsn,
        name=member.name,
    )


def _backlog_bytes(member: MemberRecord, view: ClusterView) -> int:
    facts = view.member(member.name).facts
    return facts.replay_backlog_bytes if facts is not None else 0


_BACKLOG_STEP_BYTES = 1024 * 1024
"""A difference in replay backlog below this costs less than three milliseconds, and does not count."""


def _site_of(record: Record) -> str:
    primary = record.member(record.primary)
    return "" if primary is None else primary.site


def _ranked_lower(
    best: MemberRecord,
    other: MemberRecord,
    ranks: Mapping[MemberName, _Rank],
    record: Record,
    view: ClusterView,
    *,
    k: int,
) -> Refused:
    """The first thing that told them apart."""
    mine, theirs = ranks[best.name], ranks[other.name]
    refusal = Refusal.RANKED_LOWER
    match next(field for field in _Rank._fields if getattr(mine, field) != getattr(theirs, field)):
        case "last_resort" if other.name == record.primary:
            why = f"{other.name} is the outgoing primary"
        case "last_resort":
            refusal = Refusal.GAVE_UP_BEFORE
            epoch = max(prior.epoch for prior in record.prior if prior.primary == other.name)
            why = f"{other.name} was given up in epoch {epoch}"
        case "not_asked_for":
            why = "it was asked for"
        case "followers_missing":
            why = (
                f"{k - mine.followers_missing} of the {k} wanted could follow it, "
                f"{k - theirs.followers_missing} could follow {other.name}"
            )
        case "negative_priority":
            why = f"priority {best.priority} against {other.priority}"
        case "other_site":
            why = f"it is in the primary's site, {best.site or 'none'}; {other.name} is in {other.site or 'none'}"
        case "backlog_steps":
            why = f"{_backlog_bytes(best, view)} bytes to replay against {_backlog_bytes(other, view)}"
        case "negative_timeline" | "negative_end_lsn":
            why = f"position {_position(mine)} against {_position(theirs)}"
        case _:
            why = "all else is alike, its name comes first"
    return Refused(other.name, refusal, f"{best.name} is preferred: {why}")


def _position(rank: _Rank) -> Position:
    return Position(-rank.negative_timeline, Lsn(-rank.negative_end_lsn))


def _r_new(
    best: MemberRecord, record: Record, view: ClusterView, sealed: Mapping[Voter, SealReport], k: int
) -> Rule:
    """Sealed members that can attach as they are; those that would have to be started first only if
    there are not k others. Solo only when no other sealed member can attach."""
    able = _followers(best, record, sealed)
    running = [m for m in able if view.member(m.name).postgres is PostgresState.STANDBY]
    chosen = running if len(running) >= k else list(able)
    return quorum((m.voter for m in chosen), k)
