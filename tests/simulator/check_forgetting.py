"""R13, by a truth of its own: who forgets does not vote; nobody is made to forget who is named.

What is forgotten is seen on the disks themselves: which one is in, whether a copy of it is half made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from common.facts import Facts, PostgresState
from orchestrator.core.record import MemberRecord, Phase, Record
from tests.simulator.violation import Violation

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet

_RUNS = (PostgresState.STANDBY, PostgresState.PRIMARY)


class Forgetting:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._disk_of: dict[str, int] = {}
        """Incarnation → which of its member's disks was in when it ran first."""
        self._sealed: dict[str, int] = {}
        """Incarnation → the epoch of the last seal that it reported."""

    def said(self, member: str, facts: Facts) -> None:
        server = self._fleet.postgres[member]
        if (
            facts.postgres in _RUNS
            and self._disk_of.setdefault(facts.incarnation, server.disks) != server.disks
        ):
            raise Violation(
                f"R13: the disk of {member} is another one, and it speaks as the same incarnation"
            )
        seal = facts.seal
        if seal is None or self._sealed.get(facts.incarnation) == seal.epoch:
            return
        self._sealed[facts.incarnation] = seal.epoch
        if server.state is PostgresState.HALF:
            raise Violation(f"R13: {member} is sealed for {seal.epoch}, and its data directory is half made")

    def broken(self, old: Record, new: Record) -> Iterator[str]:
        before = {member.name: member for member in old.members}
        for member in new.members:
            known = before.get(member.name)
            if known is None:
                continue
            if _may_rebuild(known, member) and _is_named(new, member):
                yield f"R13: {member.voter} may be rebuilt, and {[str(rule) for rule in new.rules]} name it"
            if known.number == member.number or member.name != old.primary:
                continue
            stays = old.phase is Phase.STABLE is new.phase and old.epoch == new.epoch
            down = self._fleet.postgres[member.name].state is not PostgresState.PRIMARY
            if stays and down and any(rule.waits for rule in old.rules):
                yield f"R13: {member.name}, the primary, is down and was {known.voter}; now it is {member.voter}"


def _may_rebuild(before: MemberRecord, after: MemberRecord) -> bool:
    """It was given leave to."""
    if (before.rebuild, before.rebuild_empty) == (after.rebuild, after.rebuild_empty):
        return False
    return after.rebuild is not None or after.rebuild_empty


def _is_named(record: Record, member: MemberRecord) -> bool:
    me = (member.name, member.number)
    rules = [*record.rules, *(prior.rule for prior in record.prior if prior.bound is None)]
    if any((voter.member, voter.number) == me for rule in rules for voter in rule.voters):
        return True
    return any(prior.bound is None and (prior.primary, prior.number) == me for prior in record.prior)
