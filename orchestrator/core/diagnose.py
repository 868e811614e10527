"""What is wrong with the primary, by which evidence? (protocol.md, "When to try")

Pure. A combination of signs has a name. Suspicion comes before a verdict, a verdict needs witnesses,
and an observer for whom everything went quiet at once doubts itself.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from common.facts import Facts, PostgresState, WriteState
from common.ids import MemberName
from common.profile import Profile
from common.timebase import Instant, before_ms, elapsed_ms
from orchestrator.core.events import ProbeAnswer
from orchestrator.core.liveness import Liveness, classify, patience_times, threshold_ms
from orchestrator.core.reach import answers
from orchestrator.core.reasons import Because, Reason
from orchestrator.core.record import Record
from orchestrator.core.view import ClusterView, MemberView, Relayed, Suspicion


class Diagnosis(StrEnum):
    HEALTHY = "Healthy"
    WARMING_UP = "WarmingUp"
    STARTING = "PrimaryStarting"
    SUSPECTED = "PrimarySuspected"
    CRASHED = "PrimaryCrashed"
    HOST_LOST = "PrimaryHostLost"
    CANT_WRITE = "PrimaryCantWrite"
    OUT_OF_TOUCH = "PrimaryOutOfTouch"
    DISK_FULL = "PrimaryDiskFull"
    REBUILT = "PrimaryRebuilt"
    AGENT_LOST = "AgentLost"
    CONTROL_PATH_CUT = "ControlPathCut"
    OBSERVER_ISOLATED = "ObserverIsolated"
    QUORUM_AT_RISK = "QuorumAtRisk"


FAILS_OVER = frozenset(
    {
        Diagnosis.CRASHED,
        Diagnosis.HOST_LOST,
        Diagnosis.CANT_WRITE,
        Diagnosis.OUT_OF_TOUCH,
        Diagnosis.DISK_FULL,
        Diagnosis.REBUILT,
    }
)
"""The diagnoses that leave the epoch, where R1's condition is met."""

_START_PATIENCE_MS = 10_000
"""How long a primary that this node has not seen running may take to start before it counts as crashed. One of which
its agent says what went wrong is not waited for: it was tried, or must not be (R8)."""
_GONE = "its agent says that the postmaster is gone"
FULL_MIB = 16
"""Less than one segment of WAL."""
_ROOM_MIB = 128
"""So much another member must have, or a failover would not help."""
_REPORTS_MISSING_MS = 2_000
"""An agent reports once a second: one late report says nothing, whatever the profile."""
ASK_AGAIN_MS = 500
"""How often the witnesses are asked while a suspicion lasts."""
_HEARD_LATER_MS = 150
"""A witness, or another control node, disagrees only if it heard clearly after we did: the same last words take their
time to each of us."""
_RECEIVED_WITHIN_MS = 3_000
"""PostgreSQL gives up a stream on which nothing came for two seconds (wal_receiver_timeout, agents/postgres/settings.py),
and its agent has a second to notice. A receiver that is there after that hangs, and proves nothing."""


class Finding(msgspec.Struct, frozen=True, gc=False):
    diagnosis: Diagnosis
    because: tuple[Because, ...]
    suspect: MemberName | None = None
    """Silent for longer than the threshold: the witnesses are to be asked."""


def diagnose(record: Record, view: ClusterView, now: Instant, profile: Profile) -> Finding:
    assert record.primary is not None
    name = record.primary
    seen = view.member(name)
    live = classify(seen, now, profile, expected_every_ms=profile.beat_primary_every_ms)
    if live is Liveness.NEVER_HEARD:
        return _never_heard(name, view, now, profile)
    if live is Liveness.SILENT:
        return _silent(name, seen, record, view, now, profile)
    return _speaking(name, seen, record, view, now, profile, live)


def _never_heard(name: MemberName, view: ClusterView, now: Instant, profile: Profile) -> Finding:
    assert view.listening_since is not None
    listening_ms = elapsed_ms(since=view.listening_since, now=now)
    if listening_ms < 2 * profile.suspect_ceiling_ms:
        return Finding(
            Diagnosis.WARMING_UP, (Because(Reason.WARMING_UP, name, f"listening for {listening_ms} ms"),)
        )
    if view.suspicion is None or view.suspicion.member != name:
        because = Because(Reason.PRIMARY_SUSPECTED, name, f"never heard in {listening_ms} ms of listening")
        return Finding(Diagnosis.SUSPECTED, (because,), suspect=name)
    return _verdict(
        name, view.member(name), view.suspicion, view, now, profile, f"never heard in {listening_ms} ms"
    )


def _silent(
    name: MemberName, seen: MemberView, record: Record, view: ClusterView, now: Instant, profile: Profile
) -> Finding:
    assert seen.heard_at is not None
    silence_ms = elapsed_ms(since=seen.heard_at, now=now)
    limit_ms = threshold_ms(seen, profile, expected_every_ms=profile.beat_primary_every_ms)
    measured = f"silent for {silence_ms} ms, the threshold is {limit_ms} ms"
    others = [m.name for m in record.members if m.name != name and view.member(m.name).heard_at is not None]
    if others and not any(answers(view.member(other), now, profile) for other in others):
        text = f"{measured}; but nobody else of the cluster is heard either"
        return Finding(
            Diagnosis.OBSERVER_ISOLATED, (Because(Reason.OBSERVER_DOUBTS_ITSELF, name, text),), suspect=name
        )
    if view.suspicion is None or view.suspicion.member != name:
        return Finding(
            Diagnosis.SUSPECTED, (Because(Reason.PRIMARY_SUSPECTED, name, measured),), suspect=name
        )
    return _verdict(name, seen, view.suspicion, view, now, profile, measured)


def _verdict(
    name: MemberName,
    seen: MemberView,
    suspicion: Suspicion,
    view: ClusterView,
    now: Instant,
    profile: Profile,
    measured: str,
) -> Finding:
    last_at = seen.heard_at if seen.heard_at is not None else Instant(0)
    witness = _streaming_witness(name, last_at, view, now, profile)
    lives = suspicion.sql in (ProbeAnswer.PRIMARY, ProbeAnswer.STANDBY) or witness is not None
    counts_for_ms = profile.suspect_floor_ms
    if lives:
        # Only a name is at stake: their word would grow old between two answers, and the agent be lost meanwhile.
        counts_for_ms += ASK_AGAIN_MS + profile.confirm_within_ms
    elsewhere = suspicion.heard_elsewhere_at
    if (
        elsewhere is not None
        and elsewhere >= before_ms(now, counts_for_ms)
        and elsewhere > last_at + _HEARD_LATER_MS * 1000
    ):
        age_ms = elapsed_ms(since=elsewhere, now=now)
        text = f"{measured}; another control node heard it {age_ms} ms ago"
        return Finding(
            Diagnosis.CONTROL_PATH_CUT, (Because(Reason.CONTROL_PATH_CUT, name, text),), suspect=name
        )
    relayed = _relayed(name, last_at, view, now, profile)
    if relayed is not None:
        age_ms = elapsed_ms(since=relayed.at, now=now)
        text = f"{measured}; {relayed.by} passes its beats on, the newest {age_ms} ms ago: it acknowledges commits"
        return Finding(
            Diagnosis.CONTROL_PATH_CUT, (Because(Reason.CONTROL_PATH_CUT, name, text),), suspect=name
        )
    waited_ms = elapsed_ms(since=suspicion.since, now=now)
    suspected = Finding(
        Diagnosis.SUSPECTED, (Because(Reason.PRIMARY_SUSPECTED, name, measured),), suspect=name
    )
    if lives and suspicion.awaiting and waited_ms < profile.confirm_within_ms:
        return suspected  # whether its agent is lost, or only our path to it, the other control nodes know
    if suspicion.sql in (ProbeAnswer.PRIMARY, ProbeAnswer.STANDBY):
        text = f"{measured}; but its PostgreSQL answers our own query"
        return Finding(Diagnosis.AGENT_LOST, (Because(Reason.AGENT_LOST, name, text),), suspect=name)
    if witness is not None:
        text = f"{measured}; but {witness[0]} received from it {elapsed_ms(since=witness[1], now=now)} ms ago"
        return Finding(Diagnosis.AGENT_LOST, (Because(Reason.WITNESS_DISAGREES, name, text),), suspect=name)
    complete = not suspicion.awaiting and suspicion.sql is not None
    if not complete and waited_ms < profile.confirm_within_ms:
        return suspected
    sql = (
        "its PostgreSQL refuses connections"
        if suspicion.sql is ProbeAnswer.REFUSED
        else "its PostgreSQL does not answer"
    )
    text = f"{measured}; {sql}; no other control node and no standby hears it any more"
    return Finding(Diagnosis.HOST_LOST, (Because(Reason.PRIMARY_HOST_LOST, name, text),), suspect=name)


def _relayed(
    name: MemberName, last_at: Instant, view: ClusterView, now: Instant, profile: Profile
) -> Relayed | None:
    """What a peer passed on of it, clearly after its last words to us, while it serves as this epoch's primary. One whose
    commits wait speaks against no failover: no order of ours reaches it, so nobody could help it."""
    relayed, record = view.member(name).relayed, view.record
    if relayed is None or record is None or not relayed.acknowledges:
        return None
    of_this_epoch = relayed.epoch == record.epoch and relayed.incarnation == record.the(name).incarnation
    fresh = relayed.at >= before_ms(now, profile.suspect_floor_ms)
    return relayed if of_this_epoch and fresh and relayed.at > last_at + _HEARD_LATER_MS * 1000 else None


def _streaming_witness(
    name: MemberName, last_at: Instant, view: ClusterView, now: Instant, profile: Profile
) -> tuple[MemberName, Instant] | None:
    """A standby whose receiver got something clearly after the primary's last words to us, and that speaks now: one that
    fell silent may be lost with the primary, and its last word would stand for as long."""
    for other in sorted(view.members):
        member = view.members[other]
        if other == name or member.facts is None or member.heard_at is None:
            continue
        age_ms = member.facts.received_age_ms
        if not member.facts.receiver_alive or age_ms is None or age_ms >= _RECEIVED_WITHIN_MS:
            continue
        received_at = before_ms(member.heard_at, age_ms)
        if received_at > last_at + _HEARD_LATER_MS * 1000 and answers(member, now, profile):
            return other, received_at
    return None


def _speaking(
    name: MemberName,
    seen: MemberView,
    record: Record,
    view: ClusterView,
    now: Instant,
    profile: Profile,
    live: Liveness,
) -> Finding:
    facts = seen.facts
    assert facts is not None
    if not seen.is_current(record.the(name)):
        text = "its agent speaks as another incarnation: its state or its data directory was lost"
        return Finding(Diagnosis.REBUILT, (Because(Reason.PRIMARY_REBUILT, name, text),))
    if not facts.postmaster_alive or facts.postgres in (PostgresState.STOPPED, PostgresState.ABSENT):
        return _down(name, seen, record, view, now)
    stalled_ms = _stalled_ms(seen, now)
    if stalled_ms is not None and stalled_ms >= profile.stalled_after_ms:
        text = f"no commit was flushed for {stalled_ms} ms, the limit is {profile.stalled_after_ms} ms"
        return Finding(Diagnosis.CANT_WRITE, (Because(Reason.PRIMARY_CANT_WRITE, name, text),))
    roomy = _who_has_room(name, record, view, now, profile)
    if is_full(facts) and roomy is not None:
        text = f"its disk is full: {facts.free_mib} MiB are free; {roomy[0]} has {roomy[1]} MiB"
        return Finding(Diagnosis.DISK_FULL, (Because(Reason.PRIMARY_DISK_FULL, name, text),))
    if facts.write_state is WriteState.WAITING:
        silent_ms = _out_of_touch_ms(seen, view, now)
        waiting_ms = _waiting_ms(seen, now)
        lost_ms = profile.voter_lost_ms
        limit_ms = max(lost_ms, _REPORTS_MISSING_MS) * patience_times(seen, now)
        if waiting_ms is not None and waiting_ms >= lost_ms and silent_ms >= limit_ms:
            text = (
                f"commits wait for {waiting_ms} ms, and for {silent_ms} ms no report came, though its beats do: "
                "neither its voters nor an order reach it"
            )
            return Finding(Diagnosis.OUT_OF_TOUCH, (Because(Reason.PRIMARY_OUT_OF_TOUCH, name, text),))
        text = f"commits wait for voters ({record.rule})"
        return Finding(Diagnosis.QUORUM_AT_RISK, (Because(Reason.PRIMARY_HEALTHY, name, text),))
    reason = Reason.PRIMARY_LATE if live is Liveness.LATE else Reason.PRIMARY_HEALTHY
    return Finding(Diagnosis.HEALTHY, (Because(reason, name),))


def is_full(facts: Facts) -> bool:
    """Whether less than a segment of WAL is free on its disk; not where nobody knows."""
    return facts.free_mib is not None and facts.free_mib < FULL_MIB


def _who_has_room(
    name: MemberName, record: Record, view: ClusterView, now: Instant, profile: Profile
) -> tuple[MemberName, int] | None:
    """Of those who could take over, the one with the most."""
    free = [
        (facts.free_mib, other.name)
        for other in record.members
        if other.name != name
        and not other.nofailover
        and (facts := view.member(other.name).facts) is not None
        and facts.free_mib is not None
        and facts.free_mib >= _ROOM_MIB
        and answers(view.member(other.name), now, profile)
    ]
    return (max(free)[1], max(free)[0]) if free else None


def _out_of_touch_ms(seen: MemberView, view: ClusterView, now: Instant) -> int:
    """Since its last whole report, which takes the way of our orders (TCP); from when this node leads, at the most."""
    if view.leading is None:
        return 0
    since = view.leading.since if seen.facts_at is None else max(seen.facts_at, view.leading.since)
    return elapsed_ms(since=since, now=now)


def _stalled_ms(seen: MemberView, now: Instant) -> int | None:
    """Since the newest commit that was acknowledged; where its agent knows of none, since the stall was first
    reported. None while commits are flushed."""
    if seen.facts is None or seen.stalled_since is None:
        return None
    since_report_ms = elapsed_ms(since=seen.stalled_since, now=now)
    return since_report_ms if seen.facts.write_age_ms is None else seen.facts.write_age_ms


def _waiting_ms(seen: MemberView, now: Instant) -> int | None:
    """Since the newest commit that was acknowledged; where its agent knows of none, as one that was started again since,
    from when it first said that they wait."""
    if seen.facts is None or seen.facts.write_age_ms is not None or seen.waiting_since is None:
        return None if seen.facts is None else seen.facts.write_age_ms
    return elapsed_ms(since=seen.waiting_since, now=now)


def _down(name: MemberName, seen: MemberView, record: Record, view: ClusterView, now: Instant) -> Finding:
    assert seen.facts is not None
    since_ms, failed = elapsed_ms(since=view.phase_since, now=now), seen.facts.error
    if seen.seen_primary_epoch == record.epoch or since_ms >= _START_PATIENCE_MS or failed:
        if not failed and is_full(seen.facts):
            text = f"{_GONE}, and its disk is full: {seen.facts.free_mib} MiB are free"
            return Finding(Diagnosis.DISK_FULL, (Because(Reason.PRIMARY_DISK_FULL, name, text),))
        text = f"it does not run; its agent says: {failed}" if failed else _GONE
        return Finding(Diagnosis.CRASHED, (Because(Reason.PRIMARY_CRASHED, name, text),))
    return Finding(
        Diagnosis.STARTING, (Because(Reason.WARMING_UP, name, f"not running yet, for {since_ms} ms"),)
    )
