"""From one version of the record to what each member is asked (protocol.md, R7).

Pure: a function of the record and its revision, and of nothing else.
"""

from __future__ import annotations

from typing import assert_never

from common.assignment import (
    AnyOrder,
    Assignment,
    Follow,
    Initialise,
    Promote,
    Rebuild,
    Seal,
    Serve,
    Upstream,
    Version,
    Wait,
)
from common.ids import slot_name
from common.lsn import ZERO
from common.rule import Voter
from orchestrator.core.record import MemberRecord, Phase, Record


def assignments(record: Record, revision: int) -> tuple[Assignment, ...]:
    """One for each member that the record knows an incarnation of, and has something to say to; in the order in which
    they are sent: who is waited for in this phase first (all voters' seals, the candidate, those that commits wait for)."""
    waited_for = {voter.member for voter in _awaited(record)}
    if record.phase is Phase.SEALING:
        waited_for = {voter.member for rule in record.rules for voter in rule.voters}
    if record.candidate is not None:
        waited_for = {record.candidate}
    return tuple(
        Assignment(
            cluster=record.cluster,
            member=member.name,
            incarnation=member.incarnation,
            number=member.number,
            version=Version(record.epoch, revision),
            system_identifier=record.system_identifier,
            order=order,
        )
        for member in sorted(record.members, key=lambda member: member.name not in waited_for)
        if member.incarnation is not None and (order := _order(record, member)) is not None
    )


def _awaited(record: Record) -> set[Voter]:
    """k voters of each rule, from whom an acknowledgement is expected first: rather not an incarnation that is no more,
    nor one that was the primary, which may have to be started before it can follow. Where one of them does not come the
    others are there a moment later."""
    present = {member.voter for member in record.members}
    outgoing = {prior.primary for prior in record.prior}

    def last(voter: Voter) -> tuple[bool, bool]:
        return voter not in present, voter.member in outgoing

    return {voter for rule in record.rules for voter in sorted(rule.voters, key=last)[: rule.k]}


def _order(record: Record, member: MemberRecord) -> AnyOrder | None:
    match record.phase:
        case Phase.INITIALISING:
            return Initialise() if member.name == record.primary else Wait()
        case Phase.SEALING:
            if record.handover is not None and record.handover.waiting:
                # The others go on streaming what the primary still sends while it drains.
                return Seal(drain=True) if member.name == record.primary else None
            return Seal()
        case Phase.PROMOTING:
            return _promote(record) if member.name == record.candidate else Seal()
        case Phase.STABLE:
            return _serve(record) if member.name == record.primary else _follow(record, member)
        case unknown:
            assert_never(unknown)


def _slots(record: Record, primary: MemberRecord) -> tuple[str, ...]:
    """For all members, of the epoch (R5, R12); those first for whom commits wait."""
    awaited = _awaited(record)
    others = [m for m in record.members if m.number and m.name != primary.name]
    others.sort(key=lambda m: m.voter not in awaited)
    return tuple(slot_name(m.name, m.number, record.epoch) for m in others)


def _promote(record: Record) -> Promote:
    assert record.candidate is not None
    assert record.candidate_position is not None
    return Promote(
        timeline=record.timeline_max,
        position=record.candidate_position,
        rule=record.rule,
        slots=_slots(record, record.the(record.candidate)),
    )


def _serve(record: Record) -> Serve:
    assert record.primary is not None
    rule = record.rule
    if record.target is not None and len(record.rules) == 2:
        rule = next(r for r in record.rules if r != record.target)
    return Serve(record.timeline, rule, record.target, _slots(record, record.the(record.primary)))


def _follow(record: Record, member: MemberRecord) -> Follow:
    assert record.primary is not None
    upstream = record.the(record.primary)
    rebuild = None
    if member.rebuild is not None:
        rebuild = Rebuild(member.rebuild)
    elif member.rebuild_empty:
        rebuild = Rebuild(None)
    return Follow(
        Upstream(upstream.name, upstream.address, upstream.port),
        record.timeline,
        record.history,
        rebuild,
        # Seen while no rule named it; one may by now (R13).
        upstream_oldest_lsn=ZERO if record.is_voter_or_named(member.voter) else member.upstream_oldest_lsn,
        awaited=member.voter in _awaited(record),
    )
