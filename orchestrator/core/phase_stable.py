"""STABLE: watch the primary, do what people ask, and bring the cluster to what was specified.

Pure. Leaving comes first, housekeeping second.
"""

from __future__ import annotations

from msgspec.structs import replace

from common.facts import PostgresState, WriteState
from common.ids import application_name
from common.profile import Profile
from common.timebase import Instant, elapsed_ms
from orchestrator.core.diagnose import ASK_AGAIN_MS, FAILS_OVER, Diagnosis, Finding, diagnose
from orchestrator.core.effects import AskObservers, Effect, ProbeSql, Story
from orchestrator.core.events import FailoverAsked, SwitchoverAsked
from orchestrator.core.leave import leave
from orchestrator.core.liveness import until_silent_ms
from orchestrator.core.members import adoptions, as_the_file_says, rebuilds, synced_with_spec
from orchestrator.core.move import Move
from orchestrator.core.reach import Reach, reach
from orchestrator.core.reasons import Because, Reason, Refusal, Refused
from orchestrator.core.record import Handover, Operation, Record
from orchestrator.core.rule_change import (
    Waits,
    begun,
    finished,
    first_write_is_near,
    never_ends,
    open_for_long,
    settled,
    turned_back,
)
from orchestrator.core.spec import ClusterSpec
from orchestrator.core.stuck import goes_on, no_failover
from orchestrator.core.suspected import suspected
from orchestrator.core.view import ClusterView, MemberView
from orchestrator.core.wanted import primary_answers

_ASK_PATIENCE_MS = 10_000
"""How long a switchover waits for an open rule change to end before it is refused."""
_BACKLOG_LIMIT_BYTES = 64 * 1024 * 1024


def stable(record: Record, view: ClusterView, spec: ClusterSpec, now: Instant, profile: Profile) -> Move:
    finding = diagnose(record, view, now, profile)
    if view.asked:
        return _asked(as_the_file_says(record, spec), view, now, profile, finding)
    if finding.diagnosis in FAILS_OVER:
        return _fail_over(record, view, spec, now, profile, finding)
    if finding.suspect is not None:
        return _ask_witnesses(record, view, now, profile, finding)
    move = _housekeeping(record, view, spec, now, profile, finding)
    move = goes_on(move, record, view, finding)
    # A lost host is noticed when its silence is long enough, not at the tick after.
    assert record.primary is not None
    primary = view.member(record.primary)
    left_ms = until_silent_ms(primary, now, profile, expected_every_ms=profile.beat_primary_every_ms)
    listens_to = record.primary if left_ms is not None and _only_silence_is_due(primary, finding) else None
    return replace(move, again_after_ms=left_ms, listens_to=listens_to)


def _only_silence_is_due(primary: MemberView, finding: Finding) -> bool:
    """A primary that writes. For one that does not, its stall or its waiting grows with time, by the same words."""
    writes = primary.facts is not None and primary.facts.write_state in (
        WriteState.ACKNOWLEDGED,
        WriteState.NONE,
    )
    return writes and primary.stalled_since is None and finding.diagnosis is Diagnosis.HEALTHY


def _fail_over(
    record: Record, view: ClusterView, spec: ClusterSpec, now: Instant, profile: Profile, finding: Finding
) -> Move:
    deaf = record.primary if finding.diagnosis is Diagnosis.OUT_OF_TOUCH else None
    meant = as_the_file_says(record, spec)
    within = reach(meant, view, now, profile, deaf=deaf)
    if within.why_not:
        return _keep_asking(record, view, now, profile, finding, within.why_not)
    cause = finding.because[0]
    operation = Operation("", "automatic", str(finding.diagnosis))
    text = f"{finding.diagnosis}: {cause.member}: {cause.text}"
    story = Story(record.epoch + 1, "sealing", text, member=record.primary)
    stories = (*suspected(record, view, profile), story)
    return Move(finding.because, leave(meant, operation), stories)


def _keep_asking(
    record: Record,
    view: ClusterView,
    now: Instant,
    profile: Profile,
    finding: Finding,
    why_not: tuple[Because, ...],
) -> Move:
    asking = _ask_witnesses(record, view, now, profile, finding) if finding.suspect is not None else Move(())
    asking = replace(asking, reasons=(*finding.because, *why_not))
    return no_failover(asking, record, view, finding, why_not)


def _ask_witnesses(
    record: Record, view: ClusterView, now: Instant, profile: Profile, finding: Finding
) -> Move:
    """Once when the suspicion begins, and again now and then while it lasts. The engine notes that it asked."""
    assert finding.suspect is not None
    suspicion = view.suspicion
    waiting_ms = profile.confirm_within_ms
    if suspicion is not None and suspicion.member == finding.suspect:
        asked_ms = elapsed_ms(since=suspicion.asked_at, now=now)
        if asked_ms < ASK_AGAIN_MS:
            left_ms = profile.confirm_within_ms - elapsed_ms(since=suspicion.since, now=now)
            return Move(finding.because, again_after_ms=left_ms if left_ms > 0 else ASK_AGAIN_MS - asked_ms)
    member = record.the(finding.suspect)
    effects = (
        AskObservers(member.name, waiting_ms),
        ProbeSql(member.name, member.address, member.port, waiting_ms),
    )
    return Move(finding.because, effects=effects, again_after_ms=waiting_ms)


# What people ask for


def _asked(record: Record, view: ClusterView, now: Instant, profile: Profile, finding: Finding) -> Move:
    ask = view.asked[0]
    if isinstance(ask, FailoverAsked):
        return _failover(record, view, now, profile, finding, ask)
    return _switchover(record, view, now, profile, finding, ask)


def _refuse(operation: str, record: Record, because: Because, refused: tuple[Refused, ...] = ()) -> Move:
    story = Story(record.epoch, "refused", because.text, operation, because.member, "refused", refused)
    return Move((because,), effects=(story,), answered=(operation,))


def _failover(
    record: Record, view: ClusterView, now: Instant, profile: Profile, finding: Finding, ask: FailoverAsked
) -> Move:
    healthy = finding.diagnosis in (Diagnosis.HEALTHY, Diagnosis.QUORUM_AT_RISK, Diagnosis.STARTING)
    if healthy and not ask.force:
        text = f"{record.primary} is {finding.diagnosis}; use switchover, or --force to seal it all the same"
        return _refuse(ask.operation, record, Because(Reason.REFUSED, record.primary, text))
    within = reach(record, view, now, profile)
    if within.why_not and not ask.force:
        missing = "; ".join(because.text for because in within.why_not)
        text = f"nobody could take over: {missing}; --force seals all the same, and nobody will serve until they answer"
        return _refuse(ask.operation, record, Because(Reason.REFUSED, None, text), within.refused)
    operation = Operation(ask.operation, "failover", ask.by)
    text = f"{ask.by} asked for a failover" + (" by force" if ask.force else "")
    story = Story(record.epoch + 1, "sealing", text, ask.operation, record.primary)
    stories = (*suspected(record, view, profile, ask.operation), story)
    reasons = (Because(Reason.FAILOVER_ASKED, record.primary, text), *within.why_not)
    return Move(reasons, leave(record, operation), stories, answered=(ask.operation,))


def _switchover(
    record: Record, view: ClusterView, now: Instant, profile: Profile, finding: Finding, ask: SwitchoverAsked
) -> Move:
    if ask.to is not None and record.member(ask.to) is None:
        known = ", ".join(m.name for m in record.members)
        text = f"{ask.to} is not a member of {record.cluster}; its members are {known}"
        return _refuse(ask.operation, record, Because(Reason.REFUSED, ask.to, text))
    if ask.to == record.primary:
        return _refuse(
            ask.operation, record, Because(Reason.REFUSED, ask.to, f"{ask.to} is the primary already")
        )
    if finding.diagnosis not in (Diagnosis.HEALTHY, Diagnosis.QUORUM_AT_RISK):
        text = f"{record.primary} is {finding.diagnosis}: a switchover needs a primary that can stop cleanly"
        return _refuse(ask.operation, record, Because(Reason.REFUSED, record.primary, text))
    if record.target is not None and elapsed_ms(since=ask.at, now=now) < _ASK_PATIENCE_MS:
        because = Because(Reason.RULE_CHANGE_AWAITED, None, f"first the rule change to {record.target} ends")
        return replace(_housekeeping_rule(record, view, now, profile), reasons=(because,), again_after_ms=50)
    within = reach(record, view, now, profile, to=ask.to)
    refused = (*within.refused, *_not_ready(record, view, now, within, profile))
    ready = [name for name in within.candidates if name not in {r.member for r in refused}]
    if within.why_not or not ready:
        who = f"{ask.to} can't take over" if ask.to is not None else "no member can take over"
        why = [b.text for b in within.why_not if b.reason is Reason.SEALS_OUT_OF_REACH]
        why += [f"{r.member}: {r.text}" for r in refused if ask.to in (None, r.member)]
        because = Because(Reason.REFUSED, ask.to, f"{who}: {'; '.join(why)}")
        return _refuse(ask.operation, record, because, tuple(sorted(refused, key=lambda r: r.member)))
    text = f"{ask.by} asked for a switchover to {ask.to or 'the best candidate'}"
    operation = Operation(ask.operation, "switchover", ask.by)
    left = leave(record, operation, Handover(ask.to, waiting=True))
    story = Story(
        left.epoch, "sealing", f"{text}; {record.primary} stops cleanly", ask.operation, record.primary
    )
    return Move((Because(Reason.SWITCHOVER_ASKED, ask.to, text),), left, (story,), answered=(ask.operation,))


def _not_ready(
    record: Record, view: ClusterView, now: Instant, within: Reach, profile: Profile
) -> tuple[Refused, ...]:
    """A switchover's own checks: the candidate streams, and has little left to replay."""
    primary = primary_answers(record, view, now)
    refused: list[Refused] = []
    for name in within.candidates:
        member, seen = record.the(name), view.member(name)
        facts = seen.facts
        assert facts is not None
        mine = application_name(name, member.number, record.epoch)
        streams = (
            primary is not None
            and primary.facts is not None
            and any(p.application_name == mine and p.state == "streaming" for p in primary.facts.peers)
        )
        if facts.postgres is not PostgresState.STANDBY:
            refused.append(Refused(name, Refusal.POSTGRES_DOWN, f"its PostgreSQL is {facts.postgres}"))
        elif not streams:
            refused.append(
                Refused(name, Refusal.NOT_STREAMING, f"{record.primary} does not see it streaming")
            )
        elif facts.replay_backlog_bytes > _BACKLOG_LIMIT_BYTES:
            text = f"{facts.replay_backlog_bytes} bytes are not replayed yet, the limit is {_BACKLOG_LIMIT_BYTES}"
            refused.append(Refused(name, Refusal.TOO_FAR_BEHIND, text))
        elif facts.replay_paused:
            refused.append(Refused(name, Refusal.TOO_FAR_BEHIND, "its replay is paused"))
    return tuple(refused)


# Housekeeping


def _housekeeping(
    record: Record, view: ClusterView, spec: ClusterSpec, now: Instant, profile: Profile, finding: Finding
) -> Move:
    """Everything that can be written in one go; at most one change of the rule."""
    stuck = never_ends(record, view, now)
    if stuck is not None:
        meant = as_the_file_says(record, spec)
        within = reach(meant, view, now, profile)
        if within.why_not:
            return Move((*finding.because, stuck, *within.why_not))
        story = Story(record.epoch + 1, "sealing", stuck.text, member=record.primary)
        return Move((stuck,), leave(meant, Operation("", "automatic", str(stuck.reason))), (story,))
    reasons: list[Because] = list(finding.because)
    stories: list[Effect] = []
    at = record
    synced = synced_with_spec(at, spec)
    if synced is not None:
        at = _take(synced, reasons, stories)
    for adopted in adoptions(at, view):
        at = _take(adopted, reasons, stories)
    if not first_write_is_near(at, view, now, profile):
        for rebuilt in rebuilds(at, view, now):
            at = _take(rebuilt, reasons, stories)
    done = finished(at, view) or settled(at, view, now)
    if done is not None:
        at = _take(done, reasons, stories)
    elif (back := turned_back(at, view, now, profile)) is not None:
        at = _take(back, reasons, stories)
    else:
        next_change = begun(at, view, spec, now, profile)
        if isinstance(next_change, Waits):
            reasons.extend(next_change.because)
        elif next_change is not None:
            at = _take(next_change, reasons, stories)
        elif (waits := open_for_long(at, view, now, profile)) is not None:
            reasons.append(waits)
    if at != record:
        return Move(tuple(reasons), at, tuple(stories))
    return Move(tuple(reasons))


def _housekeeping_rule(record: Record, view: ClusterView, now: Instant, profile: Profile) -> Move:
    """Only what ends an open rule change."""
    change = finished(record, view) or turned_back(record, view, now, profile)
    if change is None:
        return Move(())
    changed, because, story = change
    return Move((because,), changed, () if story is None else (story,))


def _take(
    change: tuple[Record, Because, Story | None], reasons: list[Because], stories: list[Effect]
) -> Record:
    record, because, story = change
    reasons.append(because)
    if story is not None:
        stories.append(story)
    return record
