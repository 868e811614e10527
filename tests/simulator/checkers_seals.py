"""I6, I8 and I13: what seals say and bound, against what was flushed, replied and acknowledged in the world."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from common.assignment import Position
from common.facts import Facts, PostgresState, SealReport
from common.ids import parse_application_name
from common.lsn import Lsn
from common.rule import Rule
from orchestrator.core.record import Record
from tests.simulator.model_parts import RECORD, Entry, Receiver
from tests.simulator.model_postgres import Postgres
from tests.simulator.violation import Violation

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
        self._promised: dict[str, int] = {}
        """Incarnation → the highest epoch that it reported to be sealed for."""
        self._epochs: dict[tuple[str, int, Rule], set[int]] = {}
        """(primary, its number, rule) → the epochs of all its priors: alike ones are kept as one (R4)."""
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
        self._promised[seal.incarnation] = max(seal.epoch, self._promised.get(seal.incarnation, 0))
        # Whatever the timeline: one that goes back below a fork is as short as one that goes back on its own.
        told = max((lsn for (who, _), lsn in self._flushed.items() if who == seal.incarnation), default=0)
        whole = told - told % RECORD
        if seal.position.end_lsn < whole and not (seal.was_primary and seal.damaged):
            raise Violation(
                f"I6: {facts.member} reports {seal.position} as its end, and told that it had flushed {Lsn(told)}"
            )

    # I8

    def promised(self, incarnation: str) -> int:
        """The epoch below which nothing enters it any more."""
        return self._promised.get(incarnation, 0)

    def entered(self, server: Postgres, receiver: Receiver) -> None:
        """A record came over this receiver. Its epoch is the one that its name says, too."""
        epoch, promised = self._epochs_of(server, receiver)
        if epoch < promised:
            raise Violation(f"I8: {server.member} is sealed for {promised} and streams in {epoch}")

    def _epochs_of(self, server: Postgres, receiver: Receiver) -> tuple[int, int]:
        promised = self.promised(self.fleet.agents[server.member].state.incarnation)
        epoch = min(receiver.epoch, _named_epoch(receiver.sender.name)) if promised else 0
        return epoch, promised

    def _replied(self, server: Postgres, receiver: Receiver, flushed: int) -> None:
        self._told(self.fleet.agents[server.member].state.incarnation, server.timeline, flushed)
        epoch, promised = self._epochs_of(server, receiver)
        if epoch < promised:
            raise Violation(f"I8: {server.member} is sealed for {promised} and replies in epoch {epoch}")

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
            epochs = self._epochs.setdefault((str(prior.primary), prior.number, prior.rule), set())
            epochs.add(prior.epoch)
            if prior.bound is None:
                continue
            for epoch in epochs:
                key = (epoch, str(prior.primary))
                if epoch <= prior.epoch and key in self._acknowledged:
                    bounds[key] = max(bounds.get(key, prior.bound), prior.bound)
        for key, bound in bounds.items():
            if bound < self._acknowledged[key]:
                raise Violation(
                    f"I13: the bound of {key[1]} in epoch {key[0]} is {bound}, and it acknowledged "
                    f"{self._acknowledged[key]}"
                )


@lru_cache(maxsize=4096)
def _named_epoch(name: str) -> int:
    parsed = parse_application_name(name)
    return 0 if parsed is None else parsed[2]
