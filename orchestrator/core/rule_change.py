"""R6 as the leader sees it: begin, finish, turn back; and settling (R5).

Pure. The primary's part is agents/core/recipe_serve.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from common.ids import parse_application_name
from common.lsn import ZERO
from common.profile import Profile
from common.rule import Rule, next_step
from common.timebase import Instant, elapsed_ms
from orchestrator.core.effects import Story
from orchestrator.core.members import Change
from orchestrator.core.reasons import Because, Reason
from orchestrator.core.record import Record
from orchestrator.core.spec import ClusterSpec
from orchestrator.core.stories import clients_come_first, serves
from orchestrator.core.view import ClusterView
from orchestrator.core.wanted import primary_answers, streaming_voters, wanted_rule


@dataclass(frozen=True, slots=True)
class Waits:
    """Nothing is begun, for a reason that people should see."""

    because: tuple[Because, ...]


def settled(record: Record, view: ClusterView, now: Instant) -> Change | None:
    """k of V of R_new have flushed the first record of the new timeline: `prior` is emptied (R5)."""
    if not record.prior or len(record.rules) != 1 or clients_come_first(view, now):
        return None
    assert record.primary is not None
    seen = view.member(record.primary)
    facts = seen.facts
    if facts is None or not seen.is_current(record.the(record.primary)) or facts.obeyed.epoch != record.epoch:
        return None
    done = facts.promotion
    if done is None or done.epoch != record.epoch or done.first_commit_lsn == ZERO:
        return None
    have = 0
    for peer in facts.peers:
        parsed = parse_application_name(peer.application_name)
        if parsed is None or parsed[2] != record.epoch or peer.flushed_lsn < done.first_commit_lsn:
            continue
        have += any((v.member, v.number) == parsed[:2] for v in record.rule.voters)
    if have < record.rule.k:
        return None
    text = f"{have} of {record.rule} flushed {done.first_commit_lsn}, the first commit of timeline {record.timeline}"
    return (
        replace(record, prior=()),
        Because(Reason.SETTLED, None, text),
        Story(record.epoch, "settled", text),
    )


def finished(record: Record, view: ClusterView) -> Change | None:
    """(5): confirmed under a version of the record that listed this very change."""
    if record.target is None:
        return None
    assert record.primary is not None
    seen = view.member(record.primary)
    confirmation = seen.facts.rule_confirmation if seen.facts is not None else None
    if confirmation is None or not seen.is_current(record.the(record.primary)):
        return None
    version = confirmation.version
    if version.epoch != record.epoch or not view.change_revision <= version.revision <= view.revision:
        return None
    text = f"the rule is {record.target}; barrier {confirmation.barrier_lsn} passed"
    done = replace(record, rules=(record.target,), target=None, prior=())
    return done, Because(Reason.RULE_CHANGE_FINISHED, None, text), Story(record.epoch, "rule", text)


def turned_back(record: Record, view: ClusterView, now: Instant, profile: Profile) -> Change | None:
    """A change whose new voters went away again: `target` becomes the other rule, the same steps follow."""
    if record.target is None or len(record.rules) != 2:
        return None
    if elapsed_ms(since=view.change_since, now=now) < 2 * profile.voter_lost_ms:
        return None
    primary = primary_answers(record, view, now)
    if primary is None:
        return None
    streaming = set(streaming_voters(record, primary))
    other = next(rule for rule in record.rules if rule != record.target)

    def reachable(rule: Rule) -> bool:
        return len(streaming & set(rule.voters)) >= rule.k

    if reachable(record.target) or not reachable(other):
        return None
    text = f"{record.target} can't be reached, its voters do not stream: back to {other}"
    return (
        replace(record, target=other),
        Because(Reason.RULE_CHANGE_TURNED_BACK, None, text),
        Story(record.epoch, "rule turned back", text),
    )


def never_ends(record: Record, view: ClusterView, now: Instant) -> Because | None:
    """So many incarnations that an open change names are gone for good (R13) that neither rule can be met again.

    It can't be finished and is never dropped (R6), and all commits wait; only another epoch ends that.
    """
    if record.target is None or primary_answers(record, view, now) is None:
        return None
    known = {member.voter for member in record.members}
    if any(len(known & set(rule.voters)) >= rule.k for rule in record.rules):
        return None
    gone = sorted({voter for rule in record.rules for voter in rule.voters} - known)
    rules = " nor ".join(map(str, record.rules))
    text = f"neither {rules} can be met again: {', '.join(map(str, gone))} lost what they had"
    return Because(Reason.RULE_CHANGE_NEVER_ENDS, record.primary, text)


def open_for_long(record: Record, view: ClusterView, now: Instant, profile: Profile) -> Because | None:
    """A change is never dropped (R6). One that nobody can finish, nor turn back, must say for whom it waits."""
    open_ms = elapsed_ms(since=view.change_since, now=now)
    if record.target is None or open_ms < 2 * profile.voter_lost_ms:
        return None
    primary = primary_answers(record, view, now)
    streaming = () if primary is None else streaming_voters(record, primary)
    have = len(set(streaming) & set(record.target.voters))
    text = f"the change to {record.target} is open for {open_ms} ms: {have} of its voters stream"
    return Because(Reason.RULE_CHANGE_AWAITED, None, text)


def begun(
    record: Record, view: ClusterView, spec: ClusterSpec, now: Instant, profile: Profile
) -> Change | Waits | None:
    """(1): one step towards what is wanted, while the primary answers."""
    if record.target is not None or first_write_is_near(record, view, now, profile):
        return None
    if record.prior and clients_come_first(view, now):
        return None
    wanted = wanted_rule(record, view, spec, now, profile)
    if wanted is None:
        return None
    step = next_step(record.rule, wanted.rule)
    if step is None:
        return Waits(wanted.because) if wanted.because else None
    if not _can_be_met(step, record, view, now):
        return None
    text = f"from {record.rule} to {step}" + (f", on the way to {wanted.rule}" if step != wanted.rule else "")
    reason = Reason.RULE_CHANGE_BEGUN
    if wanted.because:
        reason, text = wanted.because[0].reason, f"{wanted.because[0].text}; {text}"
    changed = replace(record, rules=(record.rule, step), target=step)
    return changed, Because(reason, None, text), Story(record.epoch, "rule change", text)


def _can_be_met(rule: Rule, record: Record, view: ClusterView, now: Instant) -> bool:
    """By voters that stream now. A change whose barrier nobody passes stays open, and nothing else can be begun
    beside it: one that names a voter which is about to be given up would keep the primary from going to solo."""
    primary = primary_answers(record, view, now)
    return primary is not None and len(set(streaming_voters(record, primary)) & set(rule.voters)) >= rule.k


def first_write_is_near(record: Record, view: ClusterView, now: Instant, profile: Profile) -> bool:
    """The rule can be met and no write was acknowledged in this epoch yet: a change now, which ends
    walsenders (R6), would only keep the clients waiting. Bounded: the write may never be heard of."""
    primary = primary_answers(record, view, now)
    if primary is None or not record.rule.waits or serves(record, primary):
        return False
    if elapsed_ms(since=view.phase_since, now=now) >= profile.voter_lost_ms:
        return False
    return len(set(streaming_voters(record, primary)) & set(record.rule.voters)) >= record.rule.k
