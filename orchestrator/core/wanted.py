"""What the rule should be, and the next step towards it (protocol.md, R6; interfaces.md, "Timings").

Pure.
"""

from __future__ import annotations

import msgspec

from common.facts import PostgresState
from common.ids import application_name
from common.profile import Profile
from common.rule import Rule, RuleKind, Voter, quorum
from common.timebase import Instant, elapsed_ms
from orchestrator.core.liveness import patience_times
from orchestrator.core.reasons import Because, Reason
from orchestrator.core.record import Record
from orchestrator.core.spec import STRICT, ClusterSpec
from orchestrator.core.view import ClusterView, MemberView

FACTS_FRESH_MS = 3_000
_STAYS_TIMES = 30
"""A minute by default. A standby of a lossy primary took up to forty seconds to stream again; meanwhile readers may still
find it under the name of the replicas, which follows the rule."""


class Wanted(msgspec.Struct, frozen=True, gc=False):
    rule: Rule
    because: tuple[Because, ...] = ()


def primary_answers(record: Record, view: ClusterView, now: Instant) -> MemberView | None:
    """The primary, if its reports of this epoch are fresh enough to begin a change on (R6)."""
    assert record.primary is not None
    seen = view.member(record.primary)
    if seen.facts is None or seen.facts_at is None or not seen.is_current(record.the(record.primary)):
        return None
    fresh = elapsed_ms(since=seen.facts_at, now=now) <= FACTS_FRESH_MS
    return seen if fresh and seen.facts.obeyed.epoch == record.epoch else None


def streaming_voters(record: Record, primary: MemberView) -> tuple[Voter, ...]:
    """Members that the primary sees streaming in this epoch, under the incarnation in the record."""
    assert primary.facts is not None
    seen = {peer.application_name for peer in primary.facts.peers if peer.state == "streaming"}
    return tuple(
        member.voter
        for member in record.members
        if member.number
        and not member.nofailover
        and member.name != record.primary
        and application_name(member.name, member.number, record.epoch) in seen
    )


def wanted_rule(
    record: Record, view: ClusterView, spec: ClusterSpec, now: Instant, profile: Profile
) -> Wanted | None:
    """None while the primary does not answer: nothing is begun then."""
    primary = primary_answers(record, view, now)
    if primary is None:
        return None
    current = record.rule
    streaming = set(streaming_voters(record, primary))
    patience = patience_times(primary, now)
    lost_ms = profile.voter_lost_ms * patience
    # Where the primary's packets are lost one by one, and commits go on with the others, one whose seal can be had all
    # the same (R2) stays for longer: each change ends the streams that are left (R6), which take seconds to come back.
    commits_go_on = len(streaming & set(current.voters)) >= current.k
    stays_ms = profile.voter_lost_ms * _STAYS_TIMES if patience > 1 and commits_go_on else lost_ms
    # One that became nofailover, or is about to leave, goes although it streams (R3).
    may_vote = {member.voter for member in record.members if not member.nofailover}
    kept = {
        voter
        for voter in current.voters
        if voter not in streaming
        and voter in may_vote
        and _lost_ms(voter, record, primary, view, now)
        < (stays_ms if _is_well(voter, record, view, now, lost_ms) else lost_ms)
    }
    voters = streaming | kept
    if voters:
        return Wanted(quorum(voters, spec.k))
    if current.kind is not RuleKind.QUORUM:
        return Wanted(current)
    if spec.when_last_voter_lost == STRICT:
        because = Because(
            Reason.STRICT_WAITS, None, f"{current}: no voter is left, and the cluster is strict"
        )
        return Wanted(current, (because,))
    return Wanted(
        quorum((), 0),
        (Because(Reason.LAST_VOTER_LOST, None, f"{current}: none that may vote streams any more"),),
    )


def _is_well(voter: Voter, record: Record, view: ClusterView, now: Instant, reported_within_ms: int) -> bool:
    """As its own report says, which takes the way of an order to seal (TCP): nothing of its own keeps it from streaming."""
    seen = view.member(voter.member)
    return (
        seen.facts is not None
        and seen.facts_at is not None
        and elapsed_ms(since=seen.facts_at, now=now) < reported_within_ms
        and seen.is_current(record.the(voter.member))
        and seen.postgres is PostgresState.STANDBY
        and not seen.facts.rebuild_needed
    )


def spec_rule(record: Record, spec: ClusterSpec) -> Rule:
    """What the rule is when the cluster is whole."""
    voters = [m.voter for m in record.members if m.number and not m.nofailover and m.name != record.primary]
    return quorum(voters, spec.k)


def _lost_ms(voter: Voter, record: Record, primary: MemberView, view: ClusterView, now: Instant) -> int:
    """How long the primary has not reported it as streaming; from when this node leads, at the most."""
    last_at = primary.streaming_at.get(application_name(voter.member, voter.number, record.epoch))
    since = view.phase_since if view.leading is None else max(view.phase_since, view.leading.since)
    return elapsed_ms(since=since if last_at is None else last_at, now=now)
