"""Whole, as the world has it: etcd's record, the model PostgreSQLs, the name servers. No leader is asked (I5).

Two questions: what lacks for the cluster to be as it was specified, and has everybody what was acknowledged last?
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from common.facts import PostgresState
from common.rule import RuleKind
from orchestrator.core.record import MemberRecord, Phase, Record
from tests.simulator.model_parts import RECORD, Entry

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet
    from tests.simulator.model_postgres import Postgres


def lacking(fleet: Fleet) -> str:
    """What lacks first; empty: whole."""
    record = fleet.record()
    if record is None:
        return "there is no record"
    return next(_lacking(fleet, record), "")


def _lacking(fleet: Fleet, record: Record) -> Iterator[str]:
    if record.phase is not Phase.STABLE or record.primary is None:
        yield f"the record is {record.phase}"
        return
    if record.target is not None or len(record.rules) != 1:
        yield f"a change of the rule to {record.target} is open"
    if record.prior:
        yield f"not settled: {record.prior[0]}"
    names = sorted(m.name for m in fleet.spec.members)
    if sorted(m.name for m in record.members) != names:
        yield f"the members are {[m.name for m in record.members]}, {names} are specified"
    yield from _rule(fleet, record)
    primary = fleet.postgres[record.primary]
    yield from _serves(fleet, record, primary)
    for member in record.members:
        if member.name != record.primary:
            yield from _streams(fleet, record, member, primary)
    yield from _named(fleet, record)


def _rule(fleet: Fleet, record: Record) -> Iterator[str]:
    """k of all who may vote; k is cut to their number, and with nobody it is solo."""
    voters = {(m.name, m.number) for m in record.members if not m.nofailover and m.name != record.primary}
    rule = record.rules[0]
    kind = RuleKind.QUORUM if voters else RuleKind.SOLO
    k = min(fleet.spec.k, len(voters))
    if (rule.kind, {(v.member, v.number) for v in rule.voters}, rule.k) != (kind, voters, k):
        yield f"the rule is {rule}; {k} of {sorted(voters)} are specified"


def _serves(fleet: Fleet, record: Record, primary: Postgres) -> Iterator[str]:
    member = record.the(primary.member)  # type: ignore[arg-type]
    rule = record.rules[0].synchronous_standby_names(record.epoch)
    if fleet.agents[member.name].state.incarnation != member.incarnation:
        yield f"{member.name} is another incarnation than the record's"
    if primary.state is not PostgresState.PRIMARY or not primary.lets_clients_in:
        yield f"{member.name} is {primary.state}, open: {primary.lets_clients_in}"
    if primary.timeline != record.timeline:
        yield f"{member.name} is on timeline {primary.timeline}, the record says {record.timeline}"
    if (primary.loaded_rule, primary.conf.rule) != (rule, rule):
        yield f"{member.name} has {primary.loaded_rule!r} in force, the record says {rule!r}"


def _streams(fleet: Fleet, record: Record, member: MemberRecord, primary: Postgres) -> Iterator[str]:
    server, receiver = fleet.postgres[member.name], fleet.postgres[member.name].receiver
    if fleet.agents[member.name].state.incarnation != member.incarnation:
        yield f"{member.name} is another incarnation than the record's"
    if server.state is not PostgresState.STANDBY or receiver is None:
        yield f"{member.name} is {server.state}, and has no receiver"
    elif receiver.upstream is not primary or not receiver.sender.streaming or not receiver.sender.alive:
        yield f"{member.name} does not stream from {primary.member}"
    elif receiver.sender.name != f"{member.name}.{member.number}@{record.epoch}":
        yield f"{member.name} streams as {receiver.sender.name}, and is {member.voter} in epoch {record.epoch}"


def _named(fleet: Fleet, record: Record) -> Iterator[str]:
    """Every server says where the primary is, and where the others are, under this epoch."""
    addresses = {m.name: sorted(m.addresses) for m in fleet.spec.members}
    mine = addresses.pop(record.primary) if record.primary in addresses else []
    others = sorted(address for group in addresses.values() for address in group)
    for server, said in (("primary", fleet.names.primary), ("secondary", fleet.names.secondary)):
        if said is None or said.epoch != record.epoch or list(said.primary) != mine:
            yield f"the zone's {server} says {said}, the primary of epoch {record.epoch} is at {mine}"
        elif sorted(said.replicas) != others:
            yield f"the zone's {server} says that replicas are at {said.replicas}, they are at {others}"


def have(fleet: Fleet, entry: Entry) -> bool:
    """Every member of the record, by content."""
    record = fleet.record()
    index = entry.start // RECORD - 1
    return record is not None and all(
        index < len(log) and log[index] == entry
        for log in (fleet.postgres[member.name].log for member in record.members)
    )
