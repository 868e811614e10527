"""What must hold of every next record; checked in production and in the simulator alike.

Pure. A broken one gives up leadership and ends the process: standing still beats acting wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator

from common.rule import is_one_step
from orchestrator.core.priors import on_leaving
from orchestrator.core.quorum import resolve_all, sealed_voters, with_bounds
from orchestrator.core.record import NEXT, Phase, Record


class InvariantBroken(AssertionError):
    """A record that must never be written was about to be."""


def check(old: Record | None, new: Record) -> None:
    """Raise InvariantBroken with every violated rule."""
    broken = list(_broken(old, new))
    if broken:
        raise InvariantBroken("; ".join(broken))


def _broken(old: Record | None, new: Record) -> Iterator[str]:
    if old is None:
        if new.phase is not Phase.INITIALISING or new.epoch != 1:
            yield f"a first record must be INITIALISING in epoch 1, not {new.phase} in {new.epoch}"
        return
    yield from _common(old, new)
    if new.phase is Phase.PROMOTING and old.phase is Phase.SEALING:
        yield from _candidate(old, new)
    if new.phase is Phase.STABLE and old.phase is Phase.STABLE:
        yield from _rules(old, new)
    if new.phase is Phase.STABLE and old.phase is Phase.PROMOTING:
        if new.primary != old.candidate or new.timeline != old.timeline_max or new.rules != old.rules:
            yield "STABLE must name the candidate, its timeline and R_new (R4, R5)"
        if new.prior != old.prior:
            yield "prior stays until R_new's voters have the first record (R5)"


def _common(old: Record, new: Record) -> Iterator[str]:
    if new.phase not in NEXT[old.phase]:
        yield f"no way leads from {old.phase} to {new.phase}"
    if new.epoch not in (old.epoch, old.epoch + 1):
        yield f"the epoch went from {old.epoch} to {new.epoch}"
    if new.timeline_max < old.timeline_max or new.timeline > new.timeline_max:
        yield f"timelines went from {old.timeline}/{old.timeline_max} to {new.timeline}/{new.timeline_max} (R11)"
    if old.system_identifier and new.system_identifier != old.system_identifier:
        yield "the system identifier changed"
    if new.epoch > old.epoch and new.phase is Phase.SEALING and new.prior != on_leaving(old):
        yield "leaving an epoch appends the outgoing primary with each of its rules, and nothing else (R1)"
    if new.epoch > old.epoch and new.phase not in (Phase.SEALING, Phase.INITIALISING):
        yield "a new epoch begins with SEALING (R4)"
    before = {m.name: m.number for m in old.members}
    for member in new.members:
        if member.number < before.get(member.name, 0):
            yield f"the incarnation of {member.name} went back (R13)"


def _candidate(old: Record, new: Record) -> Iterator[str]:
    seals = dict(new.seals)
    sealed = sealed_voters(new, seals)
    if new.candidate is None or new.candidate not in seals or new.the(new.candidate).voter not in sealed:
        yield f"the candidate {new.candidate} is not sealed in epoch {new.epoch} (R3)"
        return
    seal = seals[new.candidate]
    if seal.damaged:
        yield f"the candidate {new.candidate} is damaged (R1)"
    if seal.position != new.candidate_position:
        yield "the candidate's position is not the sealed one (R3)"
    # From what was recorded before: a bound that this record brings along proves nothing.
    resolutions = resolve_all(old.prior, sealed)
    for resolution in resolutions:
        if resolution.bound is None:
            yield f"a prior is not resolved: {resolution.missing} (R2)"
        elif seal.position < resolution.bound:
            yield f"the candidate at {seal.position} is below the bound {resolution.bound} (R3)"
    if new.prior != with_bounds(resolutions):
        yield "the priors are written with their bounds, and nothing else of them changes (R3)"
    if len(new.rules) != 1:
        yield "R_new is one rule (R4)"
    for voter in new.rule.voters:
        if voter not in sealed:
            yield f"R_new names {voter}, which is not sealed (R5)"


def _rules(old: Record, new: Record) -> Iterator[str]:
    if old.rules == new.rules:
        if new.prior not in (old.prior, ()):
            yield "in STABLE prior is only ever emptied"
        return
    if len(old.rules) == 1 and len(new.rules) == 2:
        a, b = new.rules
        if a != old.rule or new.target != b or not is_one_step(a, b):
            yield f"a rule change is begun in one step from {old.rule} (R6): {new.rules}"
    elif len(old.rules) == 2 and len(new.rules) == 1:
        if new.rule != old.target:
            yield f"a rule change ends with its target {old.target}, not {new.rule} (R6)"
    else:
        yield f"the rules went from {old.rules} to {new.rules} (R6)"
