"""INITIALISING: the birth of a cluster (interfaces.md, "Birth of a cluster").

Pure. One member creates the data directory; if it is silent for a minute before it reported a system
identifier, it is withdrawn and another one is chosen. Nobody initialises what is not empty.
"""

from __future__ import annotations

from msgspec.structs import replace

from common.facts import PostgresState
from common.profile import Profile
from common.rule import SOLO
from common.timebase import Instant, elapsed_ms
from orchestrator.core.effects import Story
from orchestrator.core.members import from_spec
from orchestrator.core.move import Move
from orchestrator.core.reach import answers
from orchestrator.core.reasons import Because, Reason
from orchestrator.core.record import MemberRecord, Phase, Record
from orchestrator.core.spec import ClusterSpec, MemberSpec
from orchestrator.core.view import ClusterView

_SILENT_FOR_MS = 60_000
_GATHER_MS = 3_000
"""How long the other members are waited for before the first one is chosen."""


def birth(view: ClusterView, spec: ClusterSpec, now: Instant, profile: Profile) -> Move:
    """There is no record yet: choose who initialises, unless somebody has data already."""
    for member in spec.members:
        facts = view.member(member.name).facts
        if facts is not None and facts.system_identifier:
            text = (
                f"{member.name} has a data directory (system identifier {facts.system_identifier}), but no "
                "record says what it is; nothing is initialised beside it"
            )
            return Move((Because(Reason.FOREIGN_DATA_DIRECTORY, member.name, text),))
    heard = [m for m in spec.members if answers(view.member(m.name), now, profile)]
    able = [m for m in heard if not m.nofailover and view.member(m.name).postgres is PostgresState.ABSENT]
    assert view.leading is not None
    waited_ms = elapsed_ms(since=view.leading.since, now=now)
    if not able or (len(heard) < len(spec.members) and waited_ms < _GATHER_MS):
        text = f"heard {', '.join(m.name for m in heard) or 'nobody'} of {len(spec.members)} members"
        return Move((Because(Reason.INITIALISING_WAITS, None, text),))
    first = _first(able)
    return _choose(spec, first, _fresh(view, spec), 1, f"{first.name} initialises the cluster")


def initialising(
    record: Record, view: ClusterView, spec: ClusterSpec, now: Instant, profile: Profile
) -> Move:
    assert record.primary is not None
    seen = view.member(record.primary)
    facts = seen.facts
    current = seen.is_current(record.the(record.primary))
    if facts is not None and current and facts.system_identifier and facts.obeyed.epoch == record.epoch:
        stable = replace(
            record,
            phase=Phase.STABLE,
            timeline=1,
            timeline_max=1,
            rules=(SOLO,),
            system_identifier=facts.system_identifier,
        )
        text = f"{record.primary} made the cluster {facts.system_identifier}; it starts in solo"
        story = Story(record.epoch, "initialised", text, member=record.primary)
        return Move((Because(Reason.INITIALISED, record.primary, text),), stable, (story,))
    heard_at = view.phase_since if seen.heard_at is None else max(seen.heard_at, view.phase_since)
    silence_ms = elapsed_ms(since=heard_at, now=now)
    others = [
        m
        for m in spec.members
        if m.name != record.primary and not m.nofailover and answers(view.member(m.name), now, profile)
    ]
    if silence_ms < _SILENT_FOR_MS or not others:
        text = f"{record.primary} initialises; last heard {silence_ms} ms ago"
        return Move((Because(Reason.INITIALISING_WAITS, record.primary, text),))
    other = _first(others)
    move = _choose(
        spec,
        other,
        record.members,
        record.epoch + 1,
        f"{record.primary} was silent for {silence_ms} ms: {other.name} instead",
    )
    return replace(move, reasons=(Because(Reason.INITIALISING_WITHDRAWN, record.primary), *move.reasons))


def _first(members: list[MemberSpec]) -> MemberSpec:
    return min(members, key=lambda m: (-m.priority, m.name))


def _fresh(view: ClusterView, spec: ClusterSpec) -> tuple[MemberRecord, ...]:
    members = []
    for wanted in spec.members:
        facts = view.member(wanted.name).facts
        member = from_spec(wanted)
        if facts is not None:
            member = replace(member, number=1, incarnation=facts.incarnation)
        members.append(member)
    return tuple(members)


def _choose(
    spec: ClusterSpec, first: MemberSpec, members: tuple[MemberRecord, ...], epoch: int, text: str
) -> Move:
    record = Record(
        cluster=spec.name,
        epoch=epoch,
        phase=Phase.INITIALISING,
        members=members,
        primary=first.name,
        rules=(SOLO,),
    )
    story = Story(epoch, "initialising", text, member=first.name)
    return Move((Because(Reason.INITIALISING_CHOSEN, first.name, text),), record, (story,))
