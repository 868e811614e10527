"""The exception that I5 allows: what the status names is exactly what is unresolved in the world, and nothing else.

Everybody is up and has had a minute. Who is sealed, and where, is read from the record's reports and the agents' disks;
who could be sealed, from those who can be reached. Only the words are the core's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.facts import PostgresState
from orchestrator.core.record import MemberRecord, Phase, Prior, Record
from orchestrator.core.status import ReasonLine
from tests.simulator.check_choice import At, Incarnation, hurdle_of, least_of, leaving, reachable

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet
    from tests.simulator.model_agent import Agent

_AWAITED = frozenset({"seals_out_of_reach", "seals_awaited"})
_NOBODY = frozenset({"no_candidate_meets_the_bounds", "candidate_out_of_reach"})
_VOTER = re.compile(r"\b[a-g]\.\d+\b")
_AT = re.compile(r"is at (\d+)@([0-9A-F]+)/([0-9A-F]+), the bound is (\d+)@([0-9A-F]+)/([0-9A-F]+)")


@dataclass(frozen=True, slots=True)
class Missing:
    """Of one prior: who would resolve it."""

    primary: str
    named: frozenset[str]
    """Incarnations."""


def wrongly_told(fleet: Fleet, reasons: tuple[ReasonLine, ...]) -> str:
    """How the status differs from the world; empty: it says exactly what is."""
    record = fleet.record()
    if record is None:
        return "there is no record"
    known = _sealed(fleet, record) if record.phase is Phase.SEALING else _believed(fleet, record)
    open_priors = [prior for prior in leaving(record) if hurdle_of(prior).least(known) is None]
    wanted = {_missing(prior, known) for prior in open_priors}
    told = {_told(line) for line in reasons if line.reason in _AWAITED}
    if wanted != told:
        return f"unresolved are {sorted(map(str, wanted))}, the status says {sorted(map(str, told))}"
    refusals = [line.text for line in reasons if line.reason in _NOBODY]
    if not open_priors and not refusals:
        return "every prior is resolved, and the status does not say why nobody takes over"
    return next((why for text in refusals for why in _untrue(fleet, record, text, known)), "")


def _believed(fleet: Fleet, record: Record) -> dict[Incarnation, At]:
    """Before the epoch is left nobody knows of a damaged disk: only a seal tells (seed 900002388 of the primary's, seed
    1310000204 of a standby's, which then counts for R2 all the same)."""
    known = reachable(fleet, record, or_damaged=record.phase is Phase.STABLE)
    if record.phase is Phase.STABLE and record.primary is not None:
        member, server = record.the(record.primary), fleet.postgres[record.primary]
        same = fleet.agents[member.name].state.incarnation == member.incarnation  # or else seed 920005687
        if server.damaged_from is not None and same:
            known[str(member.name), member.number] = (server.timeline, server.flushed_end)
    return known


def _sealed(fleet: Fleet, record: Record) -> dict[Incarnation, At]:
    """A report in the record counts, whatever became of its member since; and so does one on an agent's disk."""
    found: dict[Incarnation, At] = {}
    for member in record.members:
        durable = fleet.agents[member.name].durable
        for seal in (dict(record.seals).get(member.name), None if durable is None else durable.seal):
            if seal is not None and (seal.epoch, seal.incarnation) == (record.epoch, member.incarnation):
                at = seal.position
                if not seal.damaged or not _is_outgoing(record, member):
                    found[member.name, member.number] = (at.timeline, int(at.end_lsn))
    return found


def _is_outgoing(record: Record, member: MemberRecord) -> bool:
    return any((prior.primary, prior.number) == (member.name, member.number) for prior in record.prior)


def _missing(prior: Prior, known: Mapping[Incarnation, At]) -> Missing:
    absent = [(str(v.member), v.number) for v in prior.rule.voters if (str(v.member), v.number) not in known]
    named = {f"{name}.{number}" for name, number in (*absent, (prior.primary, prior.number))}
    return Missing(str(prior.primary), frozenset(named))


def _told(line: ReasonLine) -> Missing:
    """What stands before the bracket, in which the whole rule is quoted."""
    return Missing(line.member, frozenset(_VOTER.findall(line.text.split(" (")[0])))


def _untrue(fleet: Fleet, record: Record, text: str, known: Mapping[Incarnation, At]) -> Iterator[str]:
    """Every member is refused, for a reason that is so."""
    refused = dict(part.split(": ", 1) for part in text.split("; ") if part[1:3] == ": ")
    names = {str(member.name) for member in record.members}
    if set(refused) != names:
        yield f"refused are {sorted(refused)} of {sorted(names)}"
    for member in record.members:
        why = refused.get(member.name, "")
        if not _is_so(fleet, record, member, why, known):
            yield f"of {member.name} is said: {why}"


def _flushed_and_torn(agent: Agent) -> At | None:
    """What it told to be flushed, where its log ends before that, by less than a record."""
    seal = agent.state.seal
    if seal is None or seal.damaged or seal.flushed_lsn is None or seal.flushed_lsn <= seal.end_lsn:
        return None
    return seal.timeline, int(seal.flushed_lsn)


def _is_so(
    fleet: Fleet, record: Record, member: MemberRecord, why: str, known: Mapping[Incarnation, At]
) -> bool:
    agent, server = fleet.agents[member.name], fleet.postgres[member.name]
    me = (str(member.name), member.number)
    if found := _AT.search(why):
        at, bound = _at(found[1], found[2], found[3]), _at(found[4], found[5], found[6])
        bounds = {hurdle_of(prior).least(known) for prior in leaving(record)}
        highest = least_of([hurdle_of(prior) for prior in leaving(record)], known)
        here = known.get(me)
        if record.phase is Phase.PROMOTING and agent.state.incarnation != member.incarnation:
            here = (
                server.timeline,
                server.flushed_end,
            )  # it lost its state; SEALING would adopt it (seed 1470004434)
        if record.phase is not Phase.SEALING and at == _flushed_and_torn(agent):
            # What is heard of a running standby is how far it flushed; only its next seal tells that the last record is
            # torn (R1; the same seed, later, and again with a candidate that is about to be given up).
            here = at
        return (
            at < bound
            and here == at
            and bound in (bounds if record.phase is not Phase.SEALING else {highest})
        )
    match why.split(",", maxsplit=1)[0].split(";", maxsplit=1)[0]:
        case "nofailover is set in the cluster's file":
            wanted = fleet.spec.member(member.name)  # by the file: the record is brought in step later
            return (wanted is None or wanted.nofailover) and member.name != record.primary
        case "it is the member to be replaced":
            return record.phase is not Phase.PROMOTING and member.name == record.primary
        case "its present incarnation is not in the record yet":
            return agent.state.incarnation != member.incarnation
        case "did not report a seal for this epoch":
            return me not in known
        case "its data directory is absent" | "its data directory is half":
            return bool(agent.state.rebuilding) or server.state in (PostgresState.ABSENT, PostgresState.HALF)
    return why.startswith("its WAL ends at") and any(
        s.damaged for name, s in record.seals if name == member.name
    )


def _at(timeline: str, high: str, low: str) -> At:
    return int(timeline), (int(high, 16) << 32) + int(low, 16)
