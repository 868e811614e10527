"""R1, R2 and R3 once more, from what is really on the disks; written apart from orchestrator/core on purpose.

Two questions: could anybody take over now, and was the one who was chosen allowed to?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.facts import PostgresState
from common.ids import MemberName
from common.rule import RuleKind
from orchestrator.core.record import Phase, Prior, Record

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet
    from tests.simulator.model_agent import Agent
    from tests.simulator.model_postgres import Postgres

At = tuple[int, int]
"""(timeline, end)."""
Incarnation = tuple[str, int]
_NO_DATA = (PostgresState.ABSENT, PostgresState.HALF)


@dataclass(frozen=True, slots=True)
class Hurdle:
    """An outgoing primary with a rule: how many of whom must be known, and what is known already."""

    primary: Incarnation
    voters: tuple[Incarnation, ...]
    needed: int
    """Of the voters; 0: they don't help (solo)."""
    bound: At | None

    def least(self, sealed: Mapping[Incarnation, At]) -> At | None:
        """What a candidate must have; None: not to be known."""
        ways = [] if self.bound is None else [self.bound]
        ends = sorted(sealed[voter] for voter in self.voters if voter in sealed)
        if self.needed and len(ends) >= self.needed:
            ways.append(ends[self.needed - 1])
        if self.primary in sealed:
            ways.append(sealed[self.primary])
        return min(ways, default=None)


def hurdle_of(prior: Prior) -> Hurdle:
    quorum = prior.rule.kind is RuleKind.QUORUM
    return Hurdle(
        (str(prior.primary), prior.number),
        tuple((str(v.member), v.number) for v in prior.rule.voters),
        len(prior.rule.voters) - prior.rule.k + 1 if quorum else 0,
        None if prior.bound is None else (prior.bound.timeline, int(prior.bound.end_lsn)),
    )


def leaving(record: Record) -> list[Prior]:
    """All that leaving this epoch now would have to get over."""
    outgoing = {Phase.STABLE: record.primary, Phase.PROMOTING: record.candidate}.get(record.phase)
    if outgoing is None:
        return list(record.prior)
    number = record.the(outgoing).number
    return [*record.prior, *(Prior(record.epoch, outgoing, number, rule) for rule in record.rules)]


def hurdles(record: Record) -> list[Hurdle]:
    return [hurdle_of(prior) for prior in leaving(record)]


def least_of(found: list[Hurdle], sealed: Mapping[Incarnation, At]) -> At | None:
    """(0, 0) without any hurdle."""
    highest: At = (0, 0)
    for hurdle in found:
        least = hurdle.least(sealed)
        if least is None:
            return None
        highest = max(highest, least)
    return highest


def reachable(fleet: Fleet, record: Record, *, or_damaged: bool = False) -> dict[Incarnation, At]:
    """Members that the leader can talk to, that are who the record takes them for, and where their logs end.
    `or_damaged`: those too of which only a seal would tell that their disk has lost something."""
    leader = fleet.control
    found: dict[Incarnation, At] = {}
    for member in record.members:
        agent, server = fleet.agents[member.name], fleet.postgres[member.name]
        if not agent.alive or agent.state.incarnation != member.incarnation or agent.state.rebuilding:
            continue
        if not _is_able(agent, server, or_damaged=or_damaged):
            continue
        if server.state in _NO_DATA or not fleet.network.both_ways(leader.place, member.name):
            continue
        found[str(member.name), member.number] = (server.timeline, server.flushed_end)
    return found


def _is_able(agent: Agent, server: Postgres, *, or_damaged: bool) -> bool:
    """It can do now what a seal takes: its processes run, its disk takes what is written, its WAL can be read."""
    host = agent.host
    return (
        not host.agent_process.frozen
        and not host.postgres_process.frozen
        and not server.full
        and (or_damaged or server.damaged_from is None)
        and server.world.now_us >= max(server.stalled_until, agent.stalled_until)
    )


def legal_candidate(fleet: Fleet) -> str:
    """Somebody who could take over from the primary of the record now; empty: nobody."""
    record = fleet.record()
    if record is None or record.phase is Phase.INITIALISING:
        return ""
    able = reachable(fleet, record)
    server = fleet.postgres[record.primary] if record.primary is not None else None
    if record.phase is Phase.STABLE and server is not None and server.running:
        able = {who: at for who, at in able.items() if who[0] != record.primary}
    least = least_of(hurdles(record), able)
    if least is None:
        return ""
    for who, at in sorted(able.items()):
        goes_on = record.phase is not Phase.STABLE  # the outgoing primary, which takes nothing over
        never = record.the(MemberName(who[0])).nofailover
        if at >= least and (goes_on if who[0] == record.primary else not never):
            return who[0]
    return ""


def why_forbidden(old: Record, new: Record) -> str:
    """Of a record that names a candidate: which clause of R2 or R3 it breaks; empty: none."""
    sealed: dict[Incarnation, At] = {}
    damaged: set[str] = set()
    for name, seal in new.seals:
        member = new.the(name)
        if seal.epoch == new.epoch and seal.incarnation == member.incarnation:
            sealed[str(name), member.number] = (seal.position.timeline, int(seal.position.end_lsn))
            if seal.damaged:
                damaged.add(str(name))
    least = least_of([hurdle_of(prior) for prior in old.prior], sealed)
    if least is None:
        return f"R2: a prior of {[str(p.rule) for p in old.prior]} is resolved by nobody of {sorted(sealed)}"
    assert new.candidate is not None
    mine = sealed.get((str(new.candidate), new.the(new.candidate).number))
    if mine is None or new.candidate in damaged:
        return f"R3: {new.candidate} is not sealed, or damaged"
    if mine < least:
        return f"R3: {new.candidate} is at {mine}, the bound is {least}"
    return ""
