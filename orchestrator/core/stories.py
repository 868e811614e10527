"""What happens in an epoch after the promotion, told once each: serving, names, rejoined, whole.

Pure. An operation ends here: with one outcome, and the outage as far as it was measured.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from common.ids import application_name
from common.profile import DEFAULT, PROFILES
from common.timebase import Instant, elapsed_ms
from orchestrator.core.effects import OutageMeasured, Story
from orchestrator.core.move import Move
from orchestrator.core.names import WantedNames
from orchestrator.core.reasons import Because, Reason
from orchestrator.core.record import Phase, Record
from orchestrator.core.spec import ClusterSpec
from orchestrator.core.view import ClusterView, MemberView
from orchestrator.core.wanted import primary_answers, spec_rule

_OPERATION_PATIENCE_MS = 10_000
"""How long after the promotion an operation waits for the first write and for DNS before it ends."""

CLIENTS_FIRST_MS = 200
"""From STABLE on. They come back just then; what nobody waits for is saved after them, since each save has every member
store a new version, and where hosts share a machine that takes from what the clients wait for."""


def clients_come_first(view: ClusterView, now: Instant) -> bool:
    return elapsed_ms(since=view.phase_since, now=now) < CLIENTS_FIRST_MS


def wanted_names(record: Record, spec: ClusterSpec, revision: int) -> WantedNames | None:
    """None while nothing is to be published: no primary, or a birth whose rule is not the spec's yet."""
    if record.phase is not Phase.STABLE or record.primary is None:
        return None
    born = record.epoch == 1 and record.timeline_max == 1 and not record.rule.waits
    if born and any(not member.nofailover for member in spec.members if member.name != record.primary):
        return None  # somebody will vote; where nobody may, solo is all that the specification asks for
    voters = {voter.member for voter in record.rule.voters}
    replicas = [
        address
        for member in record.members
        if member.name in voters or (member.nofailover and member.number and member.name != record.primary)
        for address in member.addresses
    ]
    return WantedNames(
        cluster=record.cluster,
        zone=spec.zone,
        epoch=record.epoch,
        revision=revision,
        primary=record.the(record.primary).addresses,
        replicas=tuple(replicas),
    )


def names_stand(view: ClusterView, wanted: WantedNames) -> bool:
    """Read back from every authoritative server, with these addresses, in this epoch."""
    confirmed = view.names.confirmed
    return confirmed is not None and (confirmed.epoch, confirmed.primary, confirmed.replicas) == (
        wanted.epoch,
        wanted.primary,
        wanted.replicas,
    )


def is_whole(record: Record, view: ClusterView, spec: ClusterSpec, now: Instant) -> bool:
    """interfaces.md: STABLE, settled, no open change, the spec's rule, every member streams, DNS read back."""
    if record.phase is not Phase.STABLE or record.prior or record.target is not None:
        return False
    if record.rule != spec_rule(record, spec) or {m.name for m in record.members} != {
        m.name for m in spec.members
    }:
        return False
    primary = primary_answers(record, view, now)
    if primary is None or primary.facts is None or not primary.facts.open:
        return False
    streaming = {p.application_name for p in primary.facts.peers if p.state == "streaming"}
    for member in record.members:
        if member.name != record.primary and (
            application_name(member.name, member.number, record.epoch) not in streaming
        ):
            return False
    wanted = wanted_names(record, spec, view.revision)
    return wanted is not None and names_stand(view, wanted)


def tell(record: Record, view: ClusterView, spec: ClusterSpec, now: Instant) -> Move:
    """The stories that became true and were not told yet; the end of an operation."""
    stories: list[Story] = []
    told: list[str] = []
    for name, text in _news(record, view, spec, now):
        told.append(f"{name} {record.epoch}")
        outage = outage_of(record, view) if name == "serving" else None
        operation = record.operation.id if record.operation is not None else ""
        stories.append(Story(record.epoch, name, text, operation, record.primary, outage=outage))
    ended = _ended(record, view, spec, now)
    if ended is None:
        return Move((), effects=tuple(stories), told=tuple(told))
    because = Because(Reason.PROMOTED, record.primary, ended.text)
    effects = (*stories, ended) if ended.operation else tuple(stories)
    return Move((because,), replace(record, operation=None), effects, told=tuple(told))


def outage_of(record: Record, view: ClusterView) -> OutageMeasured | None:
    """From the last acknowledged probe on the old primary to the first on the new one."""
    assert record.primary is not None
    outgoing = record.operation.outgoing if record.operation is not None else None
    if outgoing is None or outgoing == record.primary:
        return None
    new = view.member(record.primary).writes
    old_at = view.member(outgoing).writes.last_at
    if old_at is None or new.first_at is None or new.first_epoch != record.epoch or new.first_at < old_at:
        return None
    return OutageMeasured(elapsed_ms(since=old_at, now=new.first_at), _profile_probe_ms(view))


def _profile_probe_ms(view: ClusterView) -> int:
    """A write that was acknowledged after the last probe and before the fault is not seen: one period."""
    profile = PROFILES.get(view.spec.profile, DEFAULT) if view.spec is not None else DEFAULT
    return profile.probe_every_ms


def _news(record: Record, view: ClusterView, spec: ClusterSpec, now: Instant) -> Iterator[tuple[str, str]]:
    """What is true now and was not told; what was told is not looked at again, since every turn comes by here."""
    if record.phase is not Phase.STABLE or record.primary is None:
        return

    def told(name: str) -> bool:
        return f"{name} {record.epoch}" in view.told

    if not told("serving") and serves(record, view.member(record.primary)):
        outage = outage_of(record, view)
        measured = (
            "" if outage is None else f"; {outage.outage_ms} ms (± {outage.uncertainty_ms}) without writes"
        )
        yield "serving", f"{record.primary} acknowledged its first write in epoch {record.epoch}{measured}"
    wanted = None if told("names") else wanted_names(record, spec, view.revision)
    if wanted is not None and names_stand(view, wanted):
        yield "names", f"{wanted.primary_name} says {', '.join(wanted.primary)}, read back from every server"
    if not told("whole") and is_whole(record, view, spec, now):
        yield "whole", f"every member streams, the rule is {record.rule}"


def serves(record: Record, primary: MemberView) -> bool:
    """It was heard to have acknowledged a write in this epoch."""
    return primary.writes.first_epoch == record.epoch and primary.writes.first_at is not None


def _ended(record: Record, view: ClusterView, spec: ClusterSpec, now: Instant) -> Story | None:
    operation = record.operation
    if operation is None or record.phase is not Phase.STABLE or record.primary is None:
        return None
    wanted = wanted_names(record, spec, view.revision)
    stands = wanted is not None and names_stand(view, wanted)
    waited_ms = elapsed_ms(since=view.phase_since, now=now)
    if not (serves(record, view.member(record.primary)) and stands) and waited_ms < _OPERATION_PATIENCE_MS:
        return None
    if clients_come_first(view, now):
        return None
    same = operation.outgoing == record.primary
    text = f"{record.primary} is the primary of epoch {record.epoch}"
    if not stands:
        text += f"; DNS is not confirmed yet: {view.names.text or 'no answer'}"
    if same and operation.kind == "switchover":
        text += "; the candidates failed, the old primary serves on"
    final = "failed" if same and operation.kind == "switchover" else "succeeded"
    return Story(
        record.epoch, "done", text, operation.id, record.primary, final, outage=outage_of(record, view)
    )
