"""The status of a cluster, from the record and the view, for people.

Pure. It says what is seen, and what a failover now would say of every member.
"""

from __future__ import annotations

from common.assignment import Position
from common.facts import Facts, PostgresState, WriteState
from common.ids import ClusterName, application_name
from common.profile import DEFAULT, PROFILES
from common.timebase import Instant, elapsed_ms
from orchestrator.core.decide import decide
from orchestrator.core.diagnose import Diagnosis, diagnose, is_full
from orchestrator.core.members import as_the_file_says, from_spec
from orchestrator.core.names import primary_name, replicas_name
from orchestrator.core.reach import answers, reach
from orchestrator.core.record import MemberRecord, Phase, Record
from orchestrator.core.removed_wal import removed_wal
from orchestrator.core.status import CandidateLine, ClusterStatus, MemberLine, NamesLine, ReasonLine
from orchestrator.core.stories import is_whole, names_stand, wanted_names
from orchestrator.core.view import ClusterView
from orchestrator.core.wanted import spec_rule

_PAUSED = "its replay is paused: it shows old rows, and can't follow another primary before SELECT pg_wal_replay_resume()"


def describe(cluster: ClusterName, view: ClusterView, now: Instant) -> ClusterStatus:
    record = view.record
    spec = view.spec
    profile = PROFILES.get(spec.profile, DEFAULT) if spec is not None else DEFAULT
    reasons = decide(view, now).reasons
    return ClusterStatus(
        cluster=cluster,
        zone=spec.zone if spec is not None else "",
        leader="",
        term=view.leading.term if view.leading is not None else 0,
        revision=view.revision,
        epoch=record.epoch if record is not None else 0,
        phase=str(record.phase) if record is not None else "NONE",
        primary=record.primary or "" if record is not None else "",
        timeline=record.timeline if record is not None else 0,
        rule=" -> ".join(str(rule) for rule in record.rules) if record is not None else "",
        wanted_rule=str(spec_rule(record, spec)) if record is not None and spec is not None else "",
        settled=record is not None and not record.prior,
        whole=record is not None and spec is not None and is_whole(record, view, spec, now),
        diagnosis=_diagnosis(record, view, now),
        reasons=tuple(ReasonLine(str(b.reason), b.member or "", b.text) for b in reasons),
        members=_members(record, view, now),
        candidates=_candidates(record, view, now),
        names=_names(record, view),
        profile=profile.name,
        operation=_operation(record),
    )


def _diagnosis(record: Record | None, view: ClusterView, now: Instant) -> str:
    if record is None:
        return "NoRecord" if view.record_known else str(Diagnosis.WARMING_UP)
    if record.phase is not Phase.STABLE or view.spec is None:
        return f"In{str(record.phase).capitalize()}"
    profile = PROFILES.get(view.spec.profile, DEFAULT)
    return str(diagnose(record, view, now, profile).diagnosis)


def _operation(record: Record | None) -> str:
    if record is None or record.operation is None:
        return ""
    return f"{record.operation.kind} ({record.operation.by})"


def _members(record: Record | None, view: ClusterView, now: Instant) -> tuple[MemberLine, ...]:
    if record is not None:
        return tuple(_member(m, record, view, now) for m in record.members)
    if view.spec is None:
        return ()
    return tuple(_member(from_spec(m), None, view, now) for m in view.spec.members)


def _member(member: MemberRecord, record: Record | None, view: ClusterView, now: Instant) -> MemberLine:
    seen = view.member(member.name)
    facts = seen.facts
    return MemberLine(
        name=member.name,
        address=member.address,
        port=member.port,
        site=member.site,
        priority=member.priority,
        nofailover=member.nofailover,
        role=str(facts.postgres) if facts is not None else "unknown",
        state=_state(member, record, view, now),
        incarnation=member.number,
        heard_age_ms=None if seen.heard_at is None else elapsed_ms(since=seen.heard_at, now=now),
        timeline=facts.timeline if facts is not None else 0,
        position=_position(facts),
        lag_bytes=_lag(member, record, view),
        replay_backlog_bytes=facts.replay_backlog_bytes if facts is not None else 0,
        write_state=str(facts.write_state if facts is not None else WriteState.NONE),
        write_age_ms=facts.write_age_ms if facts is not None else None,
        free_mib=facts.free_mib if facts is not None else None,
        postgres_version=facts.postgres_version if facts is not None else 0,
        activity=facts.activity if facts is not None else "",
        error=_error(member, record, view, now),
    )


def _error(member: MemberRecord, record: Record | None, view: ClusterView, now: Instant) -> str:
    facts = view.member(member.name).facts
    if facts is None:
        return ""
    foreign = record is not None and record.system_identifier and facts.system_identifier
    if foreign and record is not None and facts.system_identifier != record.system_identifier:
        return (
            f"its data directory is of another cluster: system identifier {facts.system_identifier}, "
            f"this cluster's is {record.system_identifier}"
        )
    paused = facts.replay_paused and facts.postgres is PostgresState.STANDBY
    notes = (
        _PAUSED if paused else "",
        f"its disk is full: {facts.free_mib} MiB are free" if is_full(facts) else "",
        _wal_is_gone(member, record, view, now),
    )
    return "; ".join(filter(None, (facts.error or facts.rebuild_needed, *notes)))


def _wal_is_gone(member: MemberRecord, record: Record | None, view: ClusterView, now: Instant) -> str:
    if record is None or (removed := removed_wal(record, member, view, now)) is None:
        return ""
    named = "; it is not cloned while a rule names it" if record.is_voter_or_named(member.voter) else ""
    return f"it needs WAL from {removed.end_lsn} on, and {record.primary} has it from {removed.oldest_lsn} on alone{named}"


def _state(member: MemberRecord, record: Record | None, view: ClusterView, now: Instant) -> str:
    seen = view.member(member.name)
    profile = PROFILES.get(view.spec.profile, DEFAULT) if view.spec is not None else DEFAULT
    if seen.heard_at is None or not answers(seen, now, profile):
        return "silent"
    facts = seen.facts
    if facts is None or not member.number or not seen.is_current(member):
        return "new"
    if (
        record is not None
        and facts.seal is not None
        and facts.seal.epoch == record.epoch
        and (record.phase is not Phase.STABLE)
    ):
        return "sealed"
    if facts.postgres is PostgresState.PRIMARY:
        if record is not None and record.phase is Phase.STABLE and member.name != record.primary:
            return "superseded"  # as it last said; it acknowledges nothing that the present one lacks (promise 2)
        return "serving" if facts.open else "closed"
    if facts.rebuild_needed or facts.postgres in (PostgresState.ABSENT, PostgresState.HALF):
        return "rebuilding"
    if record is None or record.primary is None:
        return str(facts.postgres)
    mine = application_name(member.name, member.number, record.epoch)
    primary = view.member(record.primary).facts
    peers = primary.peers if primary is not None else ()
    if any(p.application_name == mine and p.state == "streaming" for p in peers):
        voter = any(member.voter in rule.voters for rule in record.rules)
        return "voter" if voter else "streaming"
    return "attaching" if facts.postgres is PostgresState.STANDBY else str(facts.postgres)


def _position(facts: Facts | None) -> str:
    if facts is None:
        return ""
    if facts.end_of_wal is not None and facts.postgres not in (PostgresState.PRIMARY, PostgresState.STANDBY):
        return str(facts.end_of_wal)
    return str(Position(facts.timeline, facts.flushed_lsn))


def _lag(member: MemberRecord, record: Record | None, view: ClusterView) -> int | None:
    if record is None or record.primary is None or member.name == record.primary:
        return None
    mine, primary = view.member(member.name).facts, view.member(record.primary).facts
    if mine is None or primary is None or primary.postgres is not PostgresState.PRIMARY:
        return None
    return max(0, primary.flushed_lsn - mine.flushed_lsn)


def _candidates(record: Record | None, view: ClusterView, now: Instant) -> tuple[CandidateLine, ...]:
    if record is None or view.spec is None or record.phase not in (Phase.STABLE, Phase.PROMOTING):
        return ()
    within = reach(as_the_file_says(record, view.spec), view, now, PROFILES.get(view.spec.profile, DEFAULT))
    fit = tuple(CandidateLine(name, True, "", "") for name in within.candidates)
    return fit + tuple(CandidateLine(r.member, False, str(r.refusal), r.text) for r in within.refused)


def _names(record: Record | None, view: ClusterView) -> NamesLine | None:
    if view.spec is None:
        return None
    cluster, zone = view.spec.name, view.spec.zone
    wanted = wanted_names(record, view.spec, view.revision) if record is not None else None
    return NamesLine(
        primary=primary_name(cluster, zone),
        replicas=replicas_name(cluster, zone),
        addresses=wanted.primary if wanted is not None else (),
        confirmed=wanted is not None and names_stand(view, wanted),
        text=view.names.text,
    )
