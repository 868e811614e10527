"""May the leader leave this epoch? (protocol.md, R1, "When")

Pure. Sealing out of reach of R2 would turn a cut control path into an outage: so the members that
answer now must be able to resolve every prior, and one of them must be able to meet R3 as far as
their reports go. Otherwise nothing is changed, and the status says who is missing.
"""

from __future__ import annotations

import msgspec

from common.assignment import Position
from common.facts import PostgresState, SealReport
from common.ids import MemberName
from common.lsn import ZERO
from common.profile import Profile
from common.rule import Voter
from common.timebase import Instant, after_ms
from orchestrator.core.liveness import Liveness, classify
from orchestrator.core.priors import on_leaving
from orchestrator.core.quorum import resolve_all
from orchestrator.core.reasons import Because, Reason, Refusal, Refused
from orchestrator.core.record import MemberRecord, Phase, Record
from orchestrator.core.view import ClusterView, MemberView

_HEARD_SINCE_MS = 150
"""Who counts must have been heard clearly after the primary's last words: they take their time to arrive."""
_UNUSABLE = (PostgresState.ABSENT, PostgresState.HALF, PostgresState.UNKNOWN)


class Reach(msgspec.Struct, frozen=True, gc=False):
    """Whether leaving is allowed; `why_not` is empty when it is."""

    why_not: tuple[Because, ...]
    candidates: tuple[MemberName, ...]
    """Who could meet R3 as far as their reports go, most advanced first."""
    refused: tuple[Refused, ...]


def answers(member: MemberView, now: Instant, profile: Profile) -> bool:
    """Heard within what its beats' period allows."""
    live = classify(member, now, profile, expected_every_ms=profile.beat_standby_every_ms)
    return live in (Liveness.ALIVE, Liveness.LATE)


def can_seal(member: MemberRecord, seen: MemberView, now: Instant, profile: Profile) -> bool:
    return (
        answers(seen, now, profile)
        and seen.is_current(member)
        and seen.facts is not None
        and seen.facts.postgres not in _UNUSABLE
    )


def reported_position(seen: MemberView) -> Position | None:
    """As far as reports go: the scanned end where there is one, else what was received or flushed."""
    facts = seen.facts
    if facts is None:
        return None
    if facts.end_of_wal is not None and facts.postgres not in (PostgresState.PRIMARY, PostgresState.STANDBY):
        return facts.end_of_wal
    return Position(facts.timeline, max(facts.flushed_lsn, facts.replayed_lsn))


def reach(
    record: Record,
    view: ClusterView,
    now: Instant,
    profile: Profile,
    *,
    to: MemberName | None = None,
    deaf: MemberName | None = None,
) -> Reach:
    """`to`: only this member will do as the candidate (a switchover). `deaf`: it speaks, and hears no order."""
    if deaf is not None:
        view = view.with_member(msgspec.structs.replace(view.member(deaf), facts=None))
    expected: dict[Voter, SealReport] = {}
    for member in record.members:
        seen = view.member(member.name)
        position = reported_position(seen)
        if member.incarnation is None or position is None or not can_seal(member, seen, now, profile):
            continue
        if _fell_silent_with_the_primary(seen, record, view, now, profile):
            continue
        expected[member.voter] = SealReport(
            record.epoch, member.incarnation, position.timeline, position.end_lsn, None
        )
    resolutions = resolve_all(on_leaving(record), expected)
    why_not = [
        Because(Reason.SEALS_OUT_OF_REACH, resolution.prior.primary, f"missing: {resolution.missing}")
        for resolution in resolutions
        if resolution.bound is None
    ]
    # A quorum's bound is met by its highest voter, whatever the reports say now; a recorded one, and that
    # of a primary that may have acknowledged alone, must be met by name.
    bounds = [
        r.bound for r in resolutions if r.bound is not None and (r.prior.bound or not r.prior.rule.waits)
    ]
    refused = [
        found
        for member in record.members
        if (found := _refusal(member, record, view, now, profile, bounds, to)) is not None
    ]
    turned_down = {r.member for r in refused}
    fit = sorted(
        (m.name for m in record.members if m.name not in turned_down),
        key=lambda name: (reported_position(view.member(name)) or Position(0, ZERO), name),
        reverse=True,
    )
    if not fit:
        text = "; ".join(f"{r.member}: {r.text}" for r in refused)
        why_not.append(Because(Reason.CANDIDATE_OUT_OF_REACH, None, text))
    return Reach(tuple(why_not), tuple(fit), tuple(refused))


def _fell_silent_with_the_primary(
    seen: MemberView, record: Record, view: ClusterView, now: Instant, profile: Profile
) -> bool:
    """A primary beats faster than others: it is given up for lost long before it, or whoever was lost or cut off
    with it, is late as a standby. None of them answers now, and none must be counted on to be sealed (F3)."""
    if record.phase is not Phase.STABLE or record.primary is None or seen.heard_at is None:
        return False
    primary = view.member(record.primary)
    if (
        classify(primary, now, profile, expected_every_ms=profile.beat_primary_every_ms)
        is not Liveness.SILENT
    ):
        return False
    assert primary.heard_at is not None
    return seen.heard_at < after_ms(primary.heard_at, _HEARD_SINCE_MS)


def _refusal(
    member: MemberRecord,
    record: Record,
    view: ClusterView,
    now: Instant,
    profile: Profile,
    bounds: list[Position],
    to: MemberName | None,
) -> Refused | None:
    name = member.name
    seen = view.member(name)
    # A candidate that is given up may be the next epoch's, where only it has everything: it is sealed like
    # all others, and its promotion is never repeated in this epoch (R4).
    if name == record.primary and record.phase is not Phase.PROMOTING:
        return Refused(name, Refusal.IS_PRIMARY, "it is the member to be replaced")
    if to is not None and name != to:
        return Refused(name, Refusal.NOT_THE_ONE_MEANT, f"{to} was asked for")
    if member.nofailover and name != record.primary:  # which takes nothing over (R3)
        return Refused(name, Refusal.NOFAILOVER, "nofailover is set in the cluster's file")
    if not answers(seen, now, profile) or _fell_silent_with_the_primary(seen, record, view, now, profile):
        heard = "never" if seen.heard_at is None else f"{(now - seen.heard_at) // 1000} ms ago"
        return Refused(name, Refusal.SILENT, f"last heard {heard}")
    lost_state = seen.facts is not None and seen.facts.system_identifier == record.system_identifier
    if not seen.is_current(member) and not (record.phase is Phase.PROMOTING and lost_state):
        # (PROMOTING adopts nobody, the prior must name the old number; SEALING then adopts it.)
        return Refused(name, Refusal.NO_INCARNATION, "its present incarnation is not in the record yet")
    facts = seen.facts
    assert facts is not None
    if facts.postgres in _UNUSABLE:
        return Refused(name, Refusal.REBUILDING, f"its data directory is {facts.postgres}; {facts.activity}")
    position = reported_position(seen)
    for bound in bounds:
        if position is None or position < bound:
            return Refused(name, Refusal.BELOW_BOUND, f"is at {position}, the bound is {bound}")
    return None
