"""The decision: facts and `now` in, a Decision out (style.md, 3.1).

Pure. Branching stays here; the phases compute.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from common.assignment import Version
from common.facts import NO_VERSION
from common.profile import DEFAULT, PROFILES, Profile
from common.timebase import Instant, elapsed_ms
from orchestrator.core.effects import Effect, PublishNames, Story
from orchestrator.core.isolation import isolated
from orchestrator.core.members import adoptions, as_the_file_says
from orchestrator.core.move import Move
from orchestrator.core.newer_incarnation import newer_incarnation
from orchestrator.core.phase_initialising import birth, initialising
from orchestrator.core.phase_promoting import promoting
from orchestrator.core.phase_sealing import sealing
from orchestrator.core.phase_stable import stable
from orchestrator.core.reasons import Because, Reason
from orchestrator.core.record import Phase, Record
from orchestrator.core.stories import names_stand, tell, wanted_names
from orchestrator.core.view import ClusterView

_NAMES_CHECKED_EVERY_MS = 30_000
"""DNS that drifted is repaired at the latest after this."""


def profile_of(view: ClusterView) -> Profile:
    return DEFAULT if view.spec is None else PROFILES.get(view.spec.profile, DEFAULT)


def decide(view: ClusterView, now: Instant) -> Move:
    """What to do now, with the newest view; nothing is done without leading, a spec, and a record as read."""
    if view.leading is None:
        return Move((Because(Reason.WARMING_UP, None, "this control node does not lead"),))
    if view.spec is None or not view.record_known:
        return Move((Because(Reason.NO_RECORD, None, "the record was not read yet in this term"),))
    profile = profile_of(view)
    record = view.record
    if record is None:
        lost = _record_was_lost(view)
        if lost is not None:
            return _refuse_asked(view, Move((lost,)))
        move = birth(view, view.spec, now, profile)
        if move.record is not None:
            move = replace(move, record=replace(move.record, etcd_cluster_id=view.leading.etcd_cluster_id))
        return _refuse_asked(view, move)
    stopped = _went_back(record, view)
    if stopped is not None:
        return _refuse_asked(view, Move((stopped,)))
    move = _by_phase(record, view, now, profile)
    if move.record is None:
        move = _and_doubt(record, view, now, profile, move)
        move = _and_tell(record, view, now, move)
    return move


def _and_doubt(record: Record, view: ClusterView, now: Instant, profile: Profile, move: Move) -> Move:
    """A leader that hears nobody asks whether others do, in every phase."""
    doubt = isolated(record, view, now, profile)
    if doubt is None:
        return move
    more = tuple(effect for effect in doubt.effects if effect not in move.effects)
    again = [ms for ms in (move.again_after_ms, doubt.again_after_ms) if ms is not None]
    return replace(
        move,
        reasons=(*move.reasons, *doubt.reasons),
        effects=(*move.effects, *more),
        again_after_ms=min(again, default=None),
        listens_to=None,
    )


def _by_phase(record: Record, view: ClusterView, now: Instant, profile: Profile) -> Move:
    assert view.spec is not None
    match record.phase:
        case Phase.INITIALISING:
            adopting = _adopt(record, view)
            return _refuse_asked(view, adopting or initialising(record, view, view.spec, now, profile))
        case Phase.STABLE:
            return stable(record, view, view.spec, now, profile)
        case Phase.SEALING:
            meant = as_the_file_says(record, view.spec)
            adopting = _adopt(meant, view)
            return _refuse_asked(view, adopting or sealing(meant, view, view.spec, now, profile))
        case Phase.PROMOTING:
            meant = as_the_file_says(record, view.spec)
            return _refuse_asked(view, promoting(meant, view, now, profile))
        case unknown:
            assert_never(unknown)


def _adopt(record: Record, view: ClusterView) -> Move | None:
    """While sealing, a lost agent state must not keep a member with good data from being the candidate."""
    at, reasons, stories = record, [], []
    for changed, because, story in adoptions(record, view):
        at = changed
        reasons.append(because)
        if story is not None:
            stories.append(story)
    return None if at == record else Move(tuple(reasons), at, tuple(stories))


def _and_tell(record: Record, view: ClusterView, now: Instant, move: Move) -> Move:
    """Stories, the end of an operation, and DNS: after everything that changes the record."""
    assert view.spec is not None
    told = tell(record, view, view.spec, now)
    names = _names(record, view, now)
    if told.record is None and not (told.reasons or told.effects or told.told or names):
        return move
    return replace(
        move,
        reasons=(*move.reasons, *told.reasons),
        record=told.record,
        effects=(*move.effects, *told.effects, *names),
        told=(*move.told, *told.told),
    )


def _names(record: Record, view: ClusterView, now: Instant) -> tuple[Effect, ...]:
    assert view.spec is not None
    wanted = wanted_names(record, view.spec, view.revision)
    if wanted is None or view.names.superseded_by > record.epoch:
        return ()
    checked_at = view.names.confirmed_at
    fresh = checked_at is not None and elapsed_ms(since=checked_at, now=now) < _NAMES_CHECKED_EVERY_MS
    return () if fresh and names_stand(view, wanted) else (PublishNames(wanted),)


def _refuse_asked(view: ClusterView, move: Move) -> Move:
    """What people ask for in the middle of something else is refused with what is under way."""
    if not view.asked:
        return move
    record = view.record
    refusals: list[Story] = []
    answered: list[str] = []
    for ask in view.asked:
        if record is not None and record.operation is not None and record.operation.id == ask.operation:
            answered.append(ask.operation)  # asked again after a change of leader: it is under way
            continue
        phase = "not initialised yet" if record is None else f"in {record.phase} (epoch {record.epoch})"
        why = "; ".join(because.text for because in move.reasons if because.text)
        text = f"the cluster is {phase}; ask again when it is STABLE" + (f": {why}" if why else "")
        refusals.append(
            Story(0 if record is None else record.epoch, "refused", text, ask.operation, final="refused")
        )
        answered.append(ask.operation)
    return replace(move, effects=(*move.effects, *refusals), answered=(*move.answered, *answered))


def _record_was_lost(view: ClusterView) -> Because | None:
    """R14: there is no record, but somebody remembers one: etcd was emptied, and nothing may be born again."""
    assert view.leading is not None
    if view.leading.highest_seen > NO_VERSION:
        highest = view.leading.highest_seen
        text = f"there is no record, but this control node has seen epoch {highest.epoch}: etcd lost it"
        return Because(Reason.RECORD_WENT_BACK, None, text)
    for name in sorted(view.members):
        facts = view.members[name].facts
        if facts is not None and max(facts.highest_version, facts.obeyed) > NO_VERSION:
            epoch = max(facts.highest_version, facts.obeyed).epoch
            text = f"there is no record, but {name} has obeyed epoch {epoch}: etcd lost it"
            return Because(Reason.RECORD_WENT_BACK, name, text)
    return None


def _went_back(record: Record, view: ClusterView) -> Because | None:
    """R14: a record below what anybody has stored, or written in another etcd, stops the leader."""
    assert view.leading is not None
    if record.etcd_cluster_id and record.etcd_cluster_id != view.leading.etcd_cluster_id:
        text = (
            f"the record was written in etcd {record.etcd_cluster_id:x}, this is {view.leading.etcd_cluster_id:x}; "
            "nothing is done until it is adopted"
        )
        return Because(Reason.FOREIGN_ETCD, None, text)
    mine = Version(record.epoch, view.revision)
    highest, who = view.leading.highest_seen, None
    for name in sorted(view.members):
        facts = view.members[name].facts
        if facts is None or record.member(name) is None:
            continue
        if record.system_identifier and facts.system_identifier not in ("", record.system_identifier):
            continue
        if facts.promotion is not None and facts.promotion.timeline > record.timeline_max:
            text = f"{name} was promoted to timeline {facts.promotion.timeline}, the record knows {record.timeline_max}"
            return Because(Reason.RECORD_WENT_BACK, name, text)
        if newer := newer_incarnation(record, facts):
            return Because(Reason.RECORD_WENT_BACK, name, newer)
        stored = max(facts.highest_version, facts.obeyed)
        if stored > highest:
            highest, who = stored, name
    if highest <= mine:
        return None
    text = (
        f"{who or 'this control node'} has stored epoch {highest.epoch}, revision {highest.revision}; the record is at "
        f"{mine.epoch}, {mine.revision}: it went back, and nothing is done until it is adopted"
    )
    return Because(Reason.RECORD_WENT_BACK, who, text)
