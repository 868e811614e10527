"""Fold an event into the view; old news is dropped.

Pure. This decides nothing: it keeps what was heard, and when.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import assert_never

from msgspec.structs import replace

from common.facts import Facts, PostgresState, WriteState
from common.ids import ClusterName, MemberName
from common.timebase import Instant, before_ms
from orchestrator.core import events
from orchestrator.core.liveness import with_gap
from orchestrator.core.record import Record
from orchestrator.core.view import MISSED_KEPT, ClusterView, Leading, MemberView, Names, Relayed, Writes

_GAP_OUTLIER_US = 5_000_000
"""A longer gap was an absence, not a rhythm."""


def observe(view: ClusterView, event: events.Event) -> ClusterView:
    if view.listening_since is None:
        view = replace(view, listening_since=event.at)
    match event:
        case events.BeatHeard():
            return _beat(view, event.at, event.beat, event.merged)
        case events.BeatRelayed():
            return _relayed(view, event.at, event.beat, event.by)
        case events.FactsHeard():
            return _facts(view, event.at, event.facts)
        case events.StreamLost() | events.Tick():
            return view
        case events.ObserverAnswered() | events.ObserverFailed() | events.SqlProbed():
            return _witness(view, event)
        case events.RecordLoaded():
            return _record(replace(view, record_known=True), event.at, event.record, event.revision)
        case events.RecordSaved():
            return _record(view, event.at, event.record, event.revision)
        case events.SpecLoaded():
            return replace(view, spec=event.spec)
        case events.LeadershipGained():
            leading = Leading(
                event.term, event.at, event.etcd_cluster_id, event.other_nodes, event.highest_seen
            )
            return replace(
                view, leading=leading, record=None, revision=0, record_known=False, suspicion=None, asked=(),
                told=frozenset(), stuck=(), names=Names(),
            )  # fmt: skip
        case events.LeadershipLost():
            return replace(view, leading=None, record_known=False, suspicion=None, asked=())
        case events.NamesAnswered():
            return _names(view, event)
        case events.SwitchoverAsked() | events.FailoverAsked():
            if any(ask.operation == event.operation for ask in view.asked):
                return view
            return replace(view, asked=(*view.asked, event))
        case unknown:
            assert_never(unknown)


def _beat(view: ClusterView, at: Instant, beat: events.Beat, merged: int) -> ClusterView:
    member = view.member(beat.member)
    if beat.boot_id == member.boot_id and beat.sequence < member.sequence:
        return view  # overtaken on its way: what it says is not true any more
    known, facts_at = member.facts, member.facts_at
    if known is None or known.incarnation != beat.incarnation:
        facts_at = None  # a beat does not say all that this one knows
        known = Facts(
            cluster=view.spec.name if view.spec is not None else ClusterName(""),
            member=beat.member,
            incarnation=beat.incarnation,
            obeyed=beat.obeyed,
        )
    facts = replace(
        known,
        obeyed=beat.obeyed,
        system_identifier=beat.system_identifier or known.system_identifier,
        postgres=beat.postgres,
        postmaster_alive=beat.postmaster_alive,
        receiver_alive=beat.receiver_alive,
        open=beat.open,
        timeline=beat.timeline or known.timeline,
        flushed_lsn=beat.flushed_lsn,
        replayed_lsn=beat.replayed_lsn,
        insert_lsn=beat.insert_lsn,
        write_state=beat.write_state,
        write_age_ms=beat.write_age_ms,
        received_age_ms=beat.received_age_ms,
        free_mib=beat.free_mib,
    )
    gap_us, deviation_us = member.gap_us, member.gap_deviation_us
    if member.heard_at is not None and 0 < at - member.heard_at < _GAP_OUTLIER_US:
        # The beats' own rhythm, not that of the loop which looks at the newest of several.
        gap_us, deviation_us = with_gap(gap_us, deviation_us, (at - member.heard_at) // merged)
    if _is_missing_some(member, at, beat, merged):
        member = replace(member, missed_at=(*member.missed_at[1 - MISSED_KEPT :], at))
    return _heard(
        view,
        member,
        at,
        facts,
        facts_at=facts_at,
        boot_id=beat.boot_id,
        sequence=beat.sequence,
        gap_us=gap_us,
        gap_deviation_us=deviation_us,
    )


def _relayed(view: ClusterView, at: Instant, beat: events.Beat, by: MemberName) -> ClusterView:
    member = view.member(beat.member)
    for boot_id, sequence in (
        (member.boot_id, member.sequence),
        (member.relayed.boot_id, member.relayed.sequence) if member.relayed is not None else (0, 0),
    ):
        if beat.boot_id == boot_id and beat.sequence <= sequence:
            return view  # it came by itself, or by another peer
    relayed = Relayed(
        at,
        by,
        beat.boot_id,
        beat.sequence,
        beat.incarnation,
        beat.obeyed.epoch,
        acknowledges=(
            beat.postmaster_alive
            and beat.postgres is PostgresState.PRIMARY
            and beat.write_state is WriteState.ACKNOWLEDGED
        ),
    )
    return view.with_member(replace(member, relayed=relayed))


def _is_missing_some(member: MemberView, at: Instant, beat: events.Beat, merged: int) -> bool:
    """By the numbers, and by the time that passed: those that took the stream have numbers of the same row, and those that
    a busy machine sends late are not lost."""
    if beat.boot_id != member.boot_id or beat.sequence <= member.sequence + merged:
        return False
    if member.heard_at is None or not member.gap_us:
        return False
    return (at - member.heard_at) * 10 >= (10 * merged + 4) * member.gap_us


def _facts(view: ClusterView, at: Instant, facts: Facts) -> ClusterView:
    member = view.member(facts.member)
    return _heard(
        view,
        member,
        at,
        facts,
        facts_at=at,
        boot_id=member.boot_id,
        sequence=member.sequence,
        gap_us=member.gap_us,
        gap_deviation_us=member.gap_deviation_us,
    )


def _heard(
    view: ClusterView,
    member: MemberView,
    at: Instant,
    facts: Facts,
    *,
    facts_at: Instant | None,
    boot_id: int,
    sequence: int,
    gap_us: int,
    gap_deviation_us: int,
) -> ClusterView:
    """One copy of the member, and one of the view: every beat comes through."""
    stalled_since = waiting_since = None
    seen_primary_epoch, streaming_at = member.seen_primary_epoch, member.streaming_at
    if facts.postgres is PostgresState.PRIMARY:
        seen_primary_epoch = max(seen_primary_epoch, facts.obeyed.epoch)
        if facts_at == at:
            streaming = {p.application_name: at for p in facts.peers if p.state == "streaming"}
            streaming_at = MappingProxyType({**streaming_at, **streaming})
        if facts.write_state is WriteState.STALLED:
            stalled_since = at if member.stalled_since is None else member.stalled_since
        elif facts.write_state is WriteState.WAITING:
            waiting_since = at if member.waiting_since is None else member.waiting_since
    member = replace(
        member,
        facts=facts,
        heard_at=at,
        facts_at=facts_at,
        boot_id=boot_id,
        sequence=sequence,
        gap_us=gap_us,
        gap_deviation_us=gap_deviation_us,
        seen_primary_epoch=seen_primary_epoch,
        writes=_writes(member.writes, at, facts),
        stalled_since=stalled_since,
        waiting_since=waiting_since,
        streaming_at=streaming_at,
    )
    suspicion = view.suspicion
    if suspicion is not None and suspicion.member == facts.member:
        suspicion = None  # it spoke
    members = MappingProxyType({**view.members, member.name: member})
    return replace(view, members=members, suspicion=suspicion)


def _writes(writes: Writes, at: Instant, facts: Facts) -> Writes:
    epoch = facts.obeyed.epoch
    if facts.postgres is not PostgresState.PRIMARY:
        return writes
    if facts.first_write_age_ms is not None and writes.first_epoch != epoch:
        writes = replace(writes, first_at=before_ms(at, facts.first_write_age_ms), first_epoch=epoch)
    if facts.write_age_ms is not None and facts.write_state is not WriteState.NONE:
        writes = replace(writes, last_at=before_ms(at, facts.write_age_ms), last_epoch=epoch)
    return writes


def _witness(
    view: ClusterView, event: events.ObserverAnswered | events.ObserverFailed | events.SqlProbed
) -> ClusterView:
    suspicion = view.suspicion
    if suspicion is None or suspicion.member != event.member:
        return view
    match event:
        case events.SqlProbed():
            suspicion = replace(suspicion, sql=event.answer)
        case events.ObserverFailed():
            suspicion = replace(suspicion, awaiting=suspicion.awaiting - {event.node})
        case events.ObserverAnswered():
            heard_at = suspicion.heard_elsewhere_at
            if event.heard_age_ms is not None:
                theirs = before_ms(event.at, event.heard_age_ms)
                heard_at = theirs if heard_at is None else max(heard_at, theirs)
            suspicion = replace(
                suspicion, awaiting=suspicion.awaiting - {event.node}, heard_elsewhere_at=heard_at
            )
    return replace(view, suspicion=suspicion)


def _record(view: ClusterView, at: Instant, record: Record | None, revision: int) -> ClusterView:
    old = view.record
    view = replace(view, record=record, revision=revision, record_known=True)
    if record is None:
        return view
    if old is None or (old.epoch, old.phase) != (record.epoch, record.phase):
        view = replace(view, phase_since=at, sealed_enough_at=None, suspicion=None)
    if old is None or (old.rules, old.target, old.epoch) != (record.rules, record.target, record.epoch):
        view = replace(view, change_revision=revision, change_since=at)
    if old is None or old.epoch != record.epoch:
        view = replace(view, told=frozenset(), stuck=())
    return view


def _names(view: ClusterView, event: events.NamesAnswered) -> ClusterView:
    names = replace(view.names, text=event.text)
    if event.outcome is events.NameOutcome.SUPERSEDED:
        names = replace(names, superseded_by=event.epoch)
    if event.outcome is events.NameOutcome.CONFIRMED and event.wanted is not None:
        names = replace(names, confirmed=event.wanted, confirmed_at=event.at, text="")
    return replace(view, names=names)
