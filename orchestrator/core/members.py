"""The record's members: in step with the specification, and with the incarnations that speak (R7, R13).

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from common.facts import PostgresState
from common.lsn import ZERO
from common.timebase import Instant, elapsed_ms
from orchestrator.core.effects import Story
from orchestrator.core.lineage_check import misfits
from orchestrator.core.reasons import Because, Reason
from orchestrator.core.record import MemberRecord, Phase, Record
from orchestrator.core.removed_wal import removed_wal
from orchestrator.core.spec import ClusterSpec, MemberSpec
from orchestrator.core.view import ClusterView
from orchestrator.core.wanted import FACTS_FRESH_MS

Change = tuple[Record, Because, Story | None]


def from_spec(wanted: MemberSpec) -> MemberRecord:
    return MemberRecord(
        name=wanted.name,
        address=wanted.address,
        addresses=wanted.addresses,
        port=wanted.port,
        site=wanted.site,
        priority=wanted.priority,
        nofailover=wanted.nofailover,
    )


def _agrees(member: MemberRecord, wanted: MemberSpec) -> bool:
    return (
        member.address == wanted.address
        and member.addresses == wanted.addresses
        and (member.port, member.site, member.priority, member.nofailover)
        == (wanted.port, wanted.site, wanted.priority, wanted.nofailover)
    )


def _in_step(record: Record, spec: ClusterSpec) -> bool:
    """The usual case, without a list made: every turn comes by here."""
    if len(record.members) != len(spec.members):
        return False
    for member, wanted in zip(record.members, spec.members, strict=True):
        if member.name != wanted.name or not _agrees(member, wanted):
            return False
    return True


def _synced(member: MemberRecord, wanted: MemberSpec) -> MemberRecord:
    """Addresses and preferences of the specification; who it is, and what it has leave for, of the record."""
    if _agrees(member, wanted):
        return member
    return replace(
        from_spec(wanted),
        number=member.number,
        incarnation=member.incarnation,
        rebuild=member.rebuild,
        rebuild_empty=member.rebuild_empty,
        upstream_oldest_lsn=member.upstream_oldest_lsn,
    )


def as_the_file_says(record: Record, spec: ClusterSpec) -> Record:
    """With addresses and preferences by the specification, of those who are members by both.

    Every choice is made by this, in every phase, and saved together with what is chosen: where `nofailover` keeps the
    only one that has everything from being chosen, the file is the way out (seed 9979652). Nothing is saved for it
    alone but in STABLE, for each save in a promotion makes the candidate begin anew.
    """
    if _in_step(record, spec):
        return record
    members = tuple(
        member if (wanted := spec.member(member.name)) is None else _synced(member, wanted)
        for member in record.members
    )
    return replace(record, members=members)


def synced_with_spec(record: Record, spec: ClusterSpec) -> Change | None:
    """New members join without an incarnation; addresses and preferences follow. Nobody is removed while a
    rule, or a prior without a bound, names it (R13), nor the primary."""
    if _in_step(record, spec):
        return None
    members: list[MemberRecord] = []
    changes: list[str] = []
    for member in record.members:
        wanted = spec.member(member.name)
        if wanted is None:
            if member.name == record.primary or record.is_voter_or_named(member.voter):
                members.append(replace(member, nofailover=True))
                if not member.nofailover:
                    changes.append(f"{member.name} leaves as soon as no rule names it")
            else:
                changes.append(f"{member.name} left")
            continue
        members.append(_synced(member, wanted))
        if members[-1] != member:
            changes.append(f"{member.name} changed")
    known = {member.name for member in record.members}
    for wanted in spec.members:
        if wanted.name not in known:
            members.append(from_spec(wanted))
            changes.append(f"{wanted.name} joined")
    if not changes:
        return None
    text = ", ".join(changes)
    # A member that leaves takes its number along: it is not given again.
    gone = [m.number for m in record.members if spec.member(m.name) is None]
    number_max = max([record.number_max, *gone])
    return (
        replace(record, members=tuple(members), number_max=number_max),
        Because(Reason.MEMBERSHIP_CHANGED, None, text),
        Story(record.epoch, "membership", text),
    )


def adoptions(record: Record, view: ClusterView) -> Iterator[Change]:
    """An incarnation that speaks and that the record does not know gets the next number (R7, R13).

    Not a primary that is down and waited for its voters: what R1 appends to `prior` must name the one that
    acknowledged, and this one may miss some of that, with nobody left who knows (docs/decisions/damage-is-forgetting.md).
    """
    for member in record.members:
        seen = view.member(member.name)
        facts = seen.facts
        if facts is None or facts.incarnation == member.incarnation:
            continue
        if seen.facts_at is None:
            continue  # by its beats alone nobody knows which number it had (R14)
        if record.system_identifier and facts.system_identifier not in ("", record.system_identifier):
            continue  # another cluster's data directory: shown in the status, never adopted
        serves = record.phase is Phase.STABLE and member.name == record.primary
        if serves and record.rule.waits and facts.postgres is not PostgresState.PRIMARY:
            continue  # the epoch is left first
        # One that came anew may bear the name of one that left: it goes on above all numbers that left.
        number = 1 + (member.number or record.number_max)
        adopted = replace(
            member,
            number=number,
            incarnation=facts.incarnation,
            rebuild=None,
            rebuild_empty=False,
            upstream_oldest_lsn=ZERO,
        )
        record = record.with_member(adopted)
        text = f"{member.name} speaks as a new incarnation: {number}"
        yield (
            record,
            Because(Reason.INCARNATION_ADOPTED, member.name, text),
            Story(record.epoch, "adopted", text, member=member.name),
        )


def rebuilds(record: Record, view: ClusterView, now: Instant) -> Iterator[Change]:
    """Leave to rebuild a member that can't attach as it is; never one that a rule or an open prior names."""
    if record.phase is not Phase.STABLE:
        return
    for member in record.members:
        facts = view.member(member.name).facts
        if facts is None or member.name == record.primary or facts.incarnation != member.incarnation:
            continue
        if record.is_voter_or_named(member.voter):
            continue
        if not facts.rebuild_needed:
            changed = _left_behind(record, member, view, now)
            if changed is None:
                continue
            record = record.with_member(changed)
            text = f"{member.name} is to say where it ends: {record.primary} has WAL from {changed.upstream_oldest_lsn} on"
            yield record, Because(Reason.REBUILD_ALLOWED, member.name, text), None
            continue
        if facts.postgres in (PostgresState.ABSENT, PostgresState.HALF):
            if member.rebuild_empty:
                continue
            changed = replace(member, rebuild_empty=True, rebuild=None)
            text = f"{member.name} is cloned: {facts.rebuild_needed}"
        else:
            end = facts.end_of_wal
            if end is None or member.rebuild == end:
                continue
            if misfits(end, record.timeline, record.history):
                text = f"{member.name} is rebuilt, throwing away what lies above the fork: {facts.rebuild_needed}"
            elif end.end_lsn < member.upstream_oldest_lsn:
                text = f"{member.name} is cloned: {facts.rebuild_needed}"
            else:
                continue
            changed = replace(member, rebuild=end, rebuild_empty=False)
        record = record.with_member(changed)
        yield (
            record,
            Because(Reason.REBUILD_ALLOWED, member.name, text),
            Story(record.epoch, "rebuilding", text, member=member.name),
        )


def _left_behind(
    record: Record, member: MemberRecord, view: ClusterView, now: Instant
) -> MemberRecord | None:
    """It needs WAL that the primary has removed. One after the other: what it has is a whole copy until it is emptied. Not
    while a person has its replay paused, perhaps for what is still there."""
    removed, facts = removed_wal(record, member, view, now), view.member(member.name).facts
    if (
        removed is None
        or facts is None
        or facts.replay_paused
        or removed.end_lsn < member.upstream_oldest_lsn
    ):
        return None
    for other in record.members:
        at = view.member(other.name).facts_at
        is_another = other.name != member.name and other.upstream_oldest_lsn
        if is_another and at is not None and elapsed_ms(since=at, now=now) <= FACTS_FRESH_MS:
            return None
    return replace(member, upstream_oldest_lsn=removed.oldest_lsn)
