"""The invariants, checked after every step with their own simple truth (protocol.md, I1 to I11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from common.assignment import Version
from common.facts import Facts, PostgresState
from common.ids import MemberName, parse_application_name
from orchestrator.core.record import Phase, Record
from tests.simulator.model_parts import Entry, Receiver, Walsender, is_prefix
from tests.simulator.model_postgres import Postgres
from tests.simulator.violation import Violation

if TYPE_CHECKING:
    from tests.simulator.checkers_seals import SealCheckers
    from tests.simulator.fleet import Fleet
    from tests.simulator.model_agent import Agent

_COMPARED_EVERY = 64


class Checkers:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.acknowledged: list[tuple[int, Entry]] = []
        """(epoch of the server, entry)."""
        self.promotions: dict[int, tuple[str, int, list[Entry]]] = {}
        """epoch → who, its timeline, its log at the switch point."""
        self._epoch_of: dict[int, int] = {}
        """timeline → the epoch of its promotion."""
        self.timelines: dict[int, str] = {}
        """timeline → who acknowledged or was promoted on it."""
        self.allocated: dict[int, tuple[int, str]] = {}
        """timeline → (epoch, candidate), as records were saved (R11)."""
        self._compared: dict[str, tuple[Receiver, int]] = {}
        """Member → its receiver, and how much has come since the logs were compared."""
        self._listed: dict[str, tuple[Record, int, frozenset[str], bool]] = {}
        """Member → what was listed for it by that record, on that timeline."""
        self._first_epoch = 1
        """In which the cluster was made: timeline 1 is of this one."""
        self.served_us = 0
        """When the primary of the record's epoch acknowledged last, with its door open."""
        self.client_rows = 0
        self.newest_row: dict[str, Entry] = {}
        """Member → the last one that it acknowledged to a client."""
        self.seals: SealCheckers
        self.on_promoted: Callable[[Postgres], None] = lambda server: None
        self.obeyed: dict[str, Version] = {}
        """The highest pair that each agent was seen to have obeyed."""

    def attach(self, server: Postgres) -> None:
        server.on_promoted = self._promoted
        server.on_append = self._appended
        server.on_counted = self._counted
        server.on_rebuilt = self._rebuilt
        server.on_acknowledged = self._acknowledged

    # I1, I2

    def client_commit(self, server: Postgres, row: int) -> Entry | None:
        def acknowledged() -> None:
            self.client_rows += 1
            if entry is not None:
                self.newest_row[server.member] = entry

        entry = server.commit(row, acknowledged)
        return entry

    def _acknowledged(self, server: Postgres, entry: Entry) -> None:
        """To a client, or to an agent or guard, whose evidence it is (reason b)."""
        self.fleet.truth.acknowledged(server.member, server.timeline, entry)
        epoch = self.timeline_epoch(entry.timeline)
        for other, (who, _, log) in self.promotions.items():
            if epoch < other and not self._has(log, entry):
                raise Violation(
                    f"I2/I1: row {entry.content} acknowledged by {server.member}, "
                    f"lacking at {who} in epoch {other}"
                )
        allocated = self.allocated.get(entry.timeline)
        if entry.timeline > 1 and allocated is None:
            raise Violation(
                f"I3: {server.member} acknowledges on timeline {entry.timeline}, which no record has"
            )
        owner = self.timelines.setdefault(entry.timeline, server.member)
        if owner != server.member:
            raise Violation(f"I3: {server.member} acknowledges on timeline {entry.timeline} of {owner}")
        record = self.fleet.etcd.record
        if server.lets_clients_in and record is not None and record.epoch == epoch:
            self.served_us = self.fleet.world.now_us
        self.acknowledged.append((epoch, entry))
        self.seals.acknowledged(server, epoch, entry)

    def opened(self, server: Postgres) -> None:
        """R8: what a start found in its log is shown to clients now, as if it had been acknowledged; and all
        that was acknowledged before must be there, also where the old primary itself goes on."""
        own = self.timeline_epoch(server.timeline)
        for epoch, entry in self.acknowledged:
            if epoch <= own and not self._has(server.log, entry):
                raise Violation(
                    f"I1: row {entry.content} of epoch {epoch} lacks at {server.member}, which opens"
                )
        index = (server.end_of_recovery - 128) // 128 - 1
        if 0 <= index < len(server.log):
            self._acknowledged(server, server.log[index])

    def timeline_epoch(self, timeline: int) -> int:
        return self._epoch_of.get(timeline, self._first_epoch)

    @staticmethod
    def _has(log: list[Entry], entry: Entry) -> bool:
        index = (entry.start - 128) // 128
        return index < len(log) and log[index] == entry

    def _promoted(self, server: Postgres) -> None:
        allocated = self.allocated.get(server.timeline)
        if allocated is None:
            raise Violation(
                f"I3: {server.member} is promoted to timeline {server.timeline}, which no record has"
            )
        epoch, candidate = allocated
        if candidate != server.member:
            raise Violation(
                f"I3: {server.member} is promoted to timeline {server.timeline}, which is {candidate}'s"
            )
        promised = self.seals.promised(self.fleet.agents[server.member].state.incarnation)
        if promised > epoch:
            raise Violation(
                f"I3: {server.member} is sealed for {promised}, and is promoted for {epoch} after that"
            )
        log = list(server.log)
        record = self.fleet.etcd.record
        if epoch in self.promotions:
            raise Violation(
                f"I3: {server.member} and {self.promotions[epoch][0]} were promoted in epoch {epoch}"
            )
        if server.timeline in self.timelines:
            raise Violation(
                f"R11: timeline {server.timeline} of {server.member} was {self.timelines[server.timeline]}'s"
            )
        assert record is not None
        self.timelines[server.timeline] = server.member
        self.promotions[epoch] = (server.member, server.timeline, log)
        self._epoch_of[server.timeline] = epoch
        for acked_epoch, entry in self.acknowledged:
            if acked_epoch < epoch and not self._has(log, entry):
                raise Violation(
                    f"I1: row {entry.content}, acknowledged in epoch {acked_epoch}, "
                    f"lacks at {server.member} in {epoch}"
                )
        self.on_promoted(server)
        self.fleet.attach_truth.promoted(server)
        self.fleet.world.count("promotions")
        self.fleet.world.note(f"{server.member} is promoted in epoch {epoch} to timeline {server.timeline}")

    # I7

    def _counted(self, server: Postgres, entry: Entry, counted: list[Walsender]) -> None:
        for sender in counted:
            if self._has(sender.follower.log, entry) or sender.disk != sender.follower.disks:
                continue  # or a disk that had it was lost while its word was under way
            epoch = self.timeline_epoch(entry.timeline)
            if any(e > epoch and self._has(log, entry) for e, (_, _, log) in self.promotions.items()):
                continue  # it is in what came later: I2 covers it
            raise Violation(f"I7: {sender.name} was counted by {server.member} and lacks {entry}")

    # I9

    def reported(self, agent: Agent, facts: Facts) -> None:
        """What an agent says that it obeyed must have been durable: it never goes back, over all restarts."""
        before = self.obeyed.get(agent.name, facts.obeyed)
        if facts.obeyed < before:
            raise Violation(f"I9: {agent.name} had obeyed {before}, and is at {facts.obeyed} after a restart")
        self.obeyed[agent.name] = facts.obeyed
        self.seals.reported(facts)

    def forgot(self, member: str) -> None:
        self.obeyed.pop(member, None)

    # I11

    def _rebuilt(self, server: Postgres) -> None:
        record = self.fleet.etcd.record
        known = None if record is None else record.member(MemberName(server.member))
        if self.fleet.etcd.went_back:
            return  # what stands in etcd is not what the rebuild was allowed by
        self.fleet.truth.rebuilt(server)
        if record is None or known is None or server.state is PostgresState.ABSENT:
            return
        if self.fleet.agents[server.member].state.incarnation != known.incarnation:
            return
        if any(known.voter in rule.voters for rule in record.rules):
            raise Violation(f"I11: {known.voter} is rebuilt while {[str(r) for r in record.rules]} counts it")
        for prior in record.prior:
            outgoing = (prior.primary, prior.number) == (known.name, known.number)
            if prior.bound is None and (outgoing or known.voter in prior.rule.voters):
                raise Violation(f"I11: {known.voter} is rebuilt while {prior} has no bound and names it")

    # I4

    def _appended(self, server: Postgres, entry: Entry) -> None:
        receiver = server.receiver
        if receiver is not None and receiver.sender.streaming and not self._is_prefix(server, receiver):
            raise Violation(
                f"I4: {server.member} streams from {receiver.upstream.member}, but is no prefix of it"
            )
        if receiver is not None:
            self.seals.entered(server, receiver)

    def _is_prefix(self, server: Postgres, receiver: Receiver) -> bool:
        """All of it when a receiver begins, and now and then; in between what came last."""
        upstream = receiver.upstream.log
        compared, since = self._compared.get(server.member, (None, 0))
        if compared is receiver and since < _COMPARED_EVERY:
            self._compared[server.member] = (receiver, since + 1)
            return is_prefix(server.log, upstream)
        self._compared[server.member] = (receiver, 0)
        return server.log == upstream[: len(server.log)]

    # I9, I10, and the record

    def saved(self, old: Record | None, new: Record) -> None:
        world = self.fleet.world
        self.seals.saved(new)
        if old is not None and old.phase is Phase.INITIALISING:
            self._first_epoch = new.epoch
        if new.phase is Phase.PROMOTING and new.candidate is not None:
            self.allocated[new.timeline_max] = (new.epoch, str(new.candidate))
        world.note(
            f"record {new.epoch} {new.phase} rules={[str(r) for r in new.rules]} target={new.target} "
            f"prior={len(new.prior)}"
        )
        if old is not None and new.epoch > old.epoch:
            world.count("epochs")
            if len(old.rules) == 2:
                world.count("rule changes cut by a failover")
        if old is not None and old.phase is Phase.PROMOTING and new.phase is Phase.STABLE:
            world.count("failovers")

    def after_each(self) -> None:
        record = self.fleet.etcd.record
        if record is None or self.fleet.etcd.went_back:
            return
        epoch = record.epoch
        for agent in self.fleet.agents.values():
            durable = agent.durable
            if durable is not None and durable.obeyed.epoch > epoch:
                raise Violation(
                    f"I9: {agent.name} obeyed epoch {durable.obeyed.epoch} above the record's {epoch}"
                )
        for name, server in self.fleet.postgres.items():
            if server.state is PostgresState.PRIMARY:
                self._rules(record, MemberName(name), server)

    def _rules(self, record: Record, member: MemberName, server: Postgres) -> None:
        """I10: what any walsender of a primary, or of one that was, may act on is in the record, or the fence."""
        known = self._listed.get(member)
        if known is None or known[0] is not record or known[1] != server.timeline:
            known = self._listed[member] = (
                record,
                server.timeline,
                *self._lists(record, member, server.timeline),
            )
        _, _, allowed, waits = known
        if not allowed:
            return
        if waits and not server.waits:
            raise Violation(f"I10: commits at {member} wait for nobody, the record lists {set(allowed)}")
        for sender in server.senders:
            if sender.alive and sender.rule not in allowed:
                self._rule_of(sender, allowed)

    def _lists(self, record: Record, member: MemberName, timeline: int) -> tuple[frozenset[str], bool]:
        """The rules of this primary as settings, and whether commits wait under each of them."""
        epoch = self.timeline_epoch(timeline)
        mine = record.candidate if record.phase is Phase.PROMOTING else record.primary
        if record.epoch == epoch and mine == member:
            rules = record.rules
        else:  # superseded: nothing is listed any more once its successor has settled
            rules = tuple(p.rule for p in record.prior if p.primary == member and p.epoch >= epoch)
        return frozenset(r.synchronous_standby_names(epoch) for r in rules), all(r.waits for r in rules)

    def _rule_of(self, sender: Walsender, allowed: frozenset[str]) -> None:
        if "primacy_fence" in sender.rule:
            return
        if sender.rule == "":
            return  # counts nobody
        parsed = parse_application_name(sender.name)
        raise Violation(
            f"I10: the walsender of {parsed} acts on {sender.rule}, the record lists {set(allowed)}"
        )


__all__ = ["Checkers", "Violation"]
