"""Are there enough seals, and what must a candidate have? (protocol.md, R2, R3)

Pure arithmetic over seal reports; it knows nothing of time or reachability.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from common.assignment import Position
from common.facts import SealReport
from common.ids import MemberName
from common.rule import Rule, RuleKind, Voter
from orchestrator.core.record import Prior, Record


@dataclass(frozen=True, slots=True)
class Resolution:
    """What is known of one prior."""

    prior: Prior
    bound: Position | None
    """None: not resolved yet."""
    missing: str = ""
    """Who would resolve it, in words."""


def sealed_voters(record: Record, seals: Mapping[MemberName, SealReport]) -> Mapping[Voter, SealReport]:
    """The seals by incarnation number; one of another incarnation than the record's does not count."""
    found: dict[Voter, SealReport] = {}
    for name, seal in seals.items():
        member = record.member(name)
        if member is not None and member.incarnation == seal.incarnation and seal.epoch == record.epoch:
            found[member.voter] = seal
    return found


def resolve(prior: Prior, sealed: Mapping[Voter, SealReport]) -> Resolution:
    """R2 with R3's bound: the lowest of what each way gives."""
    bounds = [
        bound for bound in (prior.bound, _by_voters(prior, sealed), _by_primary(prior, sealed)) if bound
    ]
    if bounds:
        return Resolution(prior, min(bounds))
    return Resolution(prior, None, _missing(prior, sealed))


def resolve_all(priors: Iterable[Prior], sealed: Mapping[Voter, SealReport]) -> tuple[Resolution, ...]:
    return tuple(resolve(prior, sealed) for prior in priors)


def with_bounds(resolutions: Iterable[Resolution]) -> tuple[Prior, ...]:
    """The priors, their bounds recorded (a bound once recorded needs no second seal, R2 c).

    Of those that differ in nothing but epoch and bound one is kept, with the higher bound: the same seals
    resolve them, and min(max(x, y), z) = max(min(x, z), min(y, z)), so every later candidate is judged as
    before. Without it a candidate that is tried again and again would fill the record (R4).
    """
    kept: dict[tuple[MemberName, int, Rule] | int, Prior] = {}
    for place, resolution in enumerate(resolutions):
        prior = replace(resolution.prior, bound=resolution.bound)
        if prior.bound is None:
            kept[place] = prior
            continue
        key = (prior.primary, prior.number, prior.rule)
        same = kept.pop(key, None)
        if same is not None and same.bound is not None:
            prior = replace(prior, epoch=max(prior.epoch, same.epoch), bound=max(prior.bound, same.bound))
        kept[key] = prior
    return tuple(kept.values())


def _by_voters(prior: Prior, sealed: Mapping[Voter, SealReport]) -> Position | None:
    """(a) the (|V|−k+1)-th lowest of the sealed positions, counted from below: an acknowledged commit is on
    k voters, so among any |V|−k+1 of them at least one has it, and it lies at or below the highest of these."""
    if prior.rule.kind is not RuleKind.QUORUM:
        return None
    positions = sorted(sealed[voter].position for voter in prior.rule.voters if voter in sealed)
    needed = prior.rule.seals_needed
    return positions[needed - 1] if len(positions) >= needed else None


def _by_primary(prior: Prior, sealed: Mapping[Voter, SealReport]) -> Position | None:
    """(b) p itself is sealed, and was not rewound or rebuilt since (then it is another incarnation).

    A damaged p resolves its prior only by (a) or (c): what it lost may have been acknowledged.
    """
    own = sealed.get(Voter(prior.primary, prior.number))
    return None if own is None or own.damaged else own.position


def _missing(prior: Prior, sealed: Mapping[Voter, SealReport]) -> str:
    primary = f"{prior.primary}.{prior.number}"
    if prior.rule.kind is not RuleKind.QUORUM:
        return f"{primary}, which alone may have acknowledged in epoch {prior.epoch} (rule {prior.rule})"
    absent = [str(voter) for voter in prior.rule.voters if voter not in sealed]
    wanted = prior.rule.seals_needed - (len(prior.rule.voters) - len(absent))
    return f"{wanted} of {', '.join(absent)}, or {primary} (epoch {prior.epoch}, rule {prior.rule})"
