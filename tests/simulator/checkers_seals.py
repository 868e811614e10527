"""I6, I8 and I13: what seals say and bound, against what was flushed, replied and acknowledged in the world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.assignment import Position
from common.facts import Facts, PostgresState, SealReport
from common.lsn import Lsn
from orchestrator.core.record import Record
from tests.simulator.checkers import Violation
from tests.simulator.model_parts import RECORD, Entry, Receiver
from tests.simulator.model_postgres import Postgres

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet


class SealCheckers:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._flushed: dict[tuple[str, int], int] = {}
        """(incarnation, timeline) → the highest flush LSN that it told anybody."""
        self._acknowledged: dict[tuple[int, str], Position] = {}
        """(epoch, primary) → the highest position acknowledged to a client, or shown to one."""
        self._seals: dict[str, SealReport] = {}
        for server in fleet.postgres.values():
            server.on_reply = self._replied

    # I6

    def _told(self, incarnation: str, timeline: int, flushed: int) -> None:
        key = (incarnation, timeline)
        if flushed > self._flushed.get(key, 0):
            self._flushed[key] = flushed

    def reported(self, facts: Facts) -> None:
        server = self.fleet.postgres[facts.member]
        if server.lost_wal:
            # A damaged primary that was replaced: no bound waits for it, and it is streamed to again from there.
            server.lost_wal = False
            self._flushed = {key: told for key, told in self._flushed.items() if key[0] != facts.incarnation}
        if facts.postgres in (PostgresState.STANDBY, PostgresState.PRIMARY):
            self._told(facts.incarnation, facts.timeline, facts.flushed_lsn)
        seal = facts.seal
        if seal is None or self._seals.get(facts.member) == seal:
            return
        self._seals[facts.member] = seal
        told = self._flushed.get((seal.incarnation, seal.timeline), 0)
        whole = told - told % RECORD
        if seal.position.end_lsn < whole and not (seal.was_primary and seal.damaged):
            raise Violation(
                f"I6: {facts.member} reports {seal.position} as its end, and told that it had flushed {Lsn(told)}"
            )

    # I8

    def _replied(self, server: Postgres, receiver: Receiver, flushed: int) -> None:
        state = self.fleet.agents[server.member].state
        self._told(state.incarnation, server.timeline, flushed)
        seal = state.seal
        if seal is not None and seal.incarnation == state.incarnation and receiver.epoch < seal.epoch:
            raise Violation(
                f"I8: {server.member} is sealed for {seal.epoch} and replies in epoch {receiver.epoch}"
            )

    # I13

    def acknowledged(self, server: Postgres, epoch: int, entry: Entry) -> None:
        position = Position(entry.timeline, Lsn(entry.end))
        key = (epoch, server.member)
        if position > self._acknowledged.get(key, Position(0, Lsn(0))):
            self._acknowledged[key] = position
        record = self.fleet.etcd.record
        if record is not None and record.prior:
            self.saved(record)

    def saved(self, record: Record) -> None:
        """A primary with two rules has two priors; what it acknowledged lies below the higher bound."""
        bounds: dict[tuple[int, str], Position] = {}
        for prior in record.prior:
            key = (prior.epoch, str(prior.primary))
            if key in self._acknowledged and prior.bound is not None:
                bounds[key] = max(bounds.get(key, prior.bound), prior.bound)
        for key, bound in bounds.items():
            if bound < self._acknowledged[key]:
                raise Violation(
                    f"I13: the bound of {key[1]} in epoch {key[0]} is {bound}, and it acknowledged "
                    f"{self._acknowledged[key]}"
                )
