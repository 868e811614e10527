"""The invariants, checked after every step with their own simple truth (protocol.md, I1 to I11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from common.assignment import Version
from common.facts import Facts, PostgresState
from common.ids import MemberName, parse_application_name
from orchestrator.core.record import Phase, Record
from tests.simulator.model_parts import Entry, Walsender, is_prefix
from tests.simulator.model_postgres import Postgres

if TYPE_CHECKING:
    from tests.simulator.checkers_seals import SealCheckers
    from tests.simulator.fleet import Fleet
    from tests.simulator.model_agent import Agent


class Violation(AssertionError):
    """An invariant of the protocol does not hold."""


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
        self.client_rows = 0
        self.seals: SealCheckers
        self.on_promoted: Callable[[Postgres], None] = lambda server: None
        self.obeyed: dict[str, Version] = {}
        """The highest pair that each agent was seen to have obeyed."""
        self._allowed_by: Record | None = None
        self._allowed: set[str] = set()
        self._all_wait = False
        """What I10 asks of the record `_allowed_by`; a record never changes, so it is worked out once."""

    def attach(self, server: Postgres) -> None:
        server.on_promoted = self._promoted
        server.on_append = self._appended
        server.on_counted = self._counted
        server.on_rebuilt = self._rebuilt

    # I1, I2

    def client_commit(self, server: Postgres, row: int) -> Entry | None:
        entry = server.commit(row, lambda: self._acknowledged(server, entry))
        return entry

    def _acknowledged(self, server: Postgres, entry: Entry | None) -> None:
        assert entry is not None
        self.client_rows += 1
        self.fleet.truth.acknowledged(server.member, server.timeline, entry)
        epoch = self._timeline_epoch(entry.timeline)
        for other, (who, _, log) in self.promotions.items():
            if epoch < other and not self._has(log, entry):
                raise Violation(
                    f"I2/I1: row {entry.content} acknowledged by {server.member}, "
                    f"lacking at {who} in epoch {other}"
                )
        owner = self.timelines.get(entry.timeline, server.member)
        if owner != server.member:
            raise Violation(f"I3: {server.member} acknowledges on timeline {entry.timeline} of {owner}")
        self.acknowledged.append((epoch, entry))
        self.seals.acknowledged(server, epoch, entry)

    def opened(self, server: Postgres) -> None:
        """R8: what a start found in its log is shown to clients now, as if it had been acknowledged; and all
        that was acknowledged before must be there, also where the old primary itself goes on."""
        own = self._timeline_epoch(server.timeline)
        for epoch, entry in self.acknowledged:
            if epoch <= own and not self._has(server.log, entry):
                raise Violation(
                    f"I1: row {entry.content} of epoch {epoch} lacks at {server.member}, which opens"
                )
        index = (server.end_of_recovery - 128) // 128 - 1
        if 0 <= index < len(server.log):
            self.client_rows -= 1
            self._acknowledged(server, server.log[index])

    def _timeline_epoch(self, timeline: int) -> int:
        return self._epoch_of.get(timeline, 1)

    @staticmethod
    def _has(log: list[Entry], entry: Entry) -> bool:
        index = (entry.start - 128) // 128
        return index < len(log) and log[index] == entry

    def _promoted(self, server: Postgres) -> None:
        agent = self.fleet.agents[server.member]
        epoch = agent.state.promotion_told
        seal = agent.state.seal
        if seal is not None and seal.epoch > epoch and seal.incarnation == agent.state.incarnation:
            raise Violation(
                f"I3: {server.member} is sealed for {seal.epoch}, and is promoted for {epoch} after that"
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
        self.fleet.world.count("promotions")
        self.fleet.world.note(f"{server.member} is promoted in epoch {epoch} to timeline {server.timeline}")

    # I7

    def _counted(self, server: Postgres, entry: Entry, counted: list[Walsender]) -> None:
        for sender in counted:
            if self._has(sender.follower.log, entry) or sender.disk != sender.follower.disks:
                continue  # or a disk that had it was lost while its word was under way
            epoch = self._timeline_epoch(entry.timeline)
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
        same = self.fleet.agents[server.member].state.incarnation == known.incarnation
        if same and any(known.voter in rule.voters for rule in record.rules):
            raise Violation(f"I11: {known.voter} is rebuilt while {[str(r) for r in record.rules]} counts it")

    # I4

    def _appended(self, server: Postgres, entry: Entry) -> None:
        receiver = server.receiver
        if (
            receiver is not None
            and receiver.sender.streaming
            and not is_prefix(server.log, receiver.upstream.log)
        ):
            raise Violation(
                f"I4: {server.member} streams from {receiver.upstream.member}, but is no prefix of it"
            )
        # I8: nothing of a lower epoch enters a sealed member.
        state = self.fleet.agents[server.member].state
        if receiver is not None and state.seal is not None and receiver.epoch < state.seal.epoch:
            raise Violation(
                f"I8: {server.member} is sealed for {state.seal.epoch} and streams in {receiver.epoch}"
            )

    # I9, I10, and the record

    def saved(self, old: Record | None, new: Record) -> None:
        world = self.fleet.world
        self.seals.saved(new)
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
        self._rules(record)

    def _rules(self, record: Record) -> None:
        """I10: what any walsender of the record's primary may act on is in the record, or the fence."""
        if record.phase is not Phase.STABLE or record.primary is None:
            return
        server = self.fleet.postgres[record.primary]
        agent = self.fleet.agents[record.primary]
        if server.state is not PostgresState.PRIMARY or agent.state.obeyed.epoch != record.epoch:
            return
        if record is not self._allowed_by:
            self._allowed_by = record
            self._allowed = {rule.synchronous_standby_names(record.epoch) for rule in record.rules}
            self._all_wait = all(rule.waits for rule in record.rules)
        allowed = self._allowed
        if not server.waits and self._all_wait:
            went_back = agent.state.obeyed > Version(record.epoch, self.fleet.etcd.record_revision)  # R14
            if not went_back:
                raise Violation(
                    f"I10: commits at {record.primary} wait for nobody, the record lists {allowed}"
                )
        for sender in server.senders:
            if sender.alive and sender.rule not in allowed:
                self._rule_of(sender, allowed)

    def _rule_of(self, sender: Walsender, allowed: set[str]) -> None:
        if "primacy_fence" in sender.rule:
            return
        if sender.rule == "":
            return  # counts nobody
        parsed = parse_application_name(sender.name)
        raise Violation(f"I10: the walsender of {parsed} acts on {sender.rule}, the record lists {allowed}")
