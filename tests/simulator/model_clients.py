"""Clients in virtual time: they write, wait, cancel, give up, are cut off, and write again.

What was acknowledged without a warning is what counts. A cancelled wait is answered as a success with a WARNING
(E8), and is none; a client that gave up knows nothing, and its backend waits on. Readers are in checkers_host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulator.model_parts import Entry
from tests.simulator.model_postgres import Postgres

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet

_WRITERS = 3
_EVERY_MS = 17
_CANCELS_PERMILLE = 60
_TERMINATED_PERMILLE = 20
_PATIENCE_US = 300_000
_RETRIES_PERMILLE = 200


class Clients:
    def __init__(self, fleet: Fleet, every_ms: int = _EVERY_MS) -> None:
        """All of them together write so often."""
        self.fleet, self.world = fleet, fleet.world
        self._every_us = (every_ms * _WRITERS * 250, every_ms * _WRITERS * 1_750)
        self.rows = 0
        for _ in range(_WRITERS):
            self._write()

    def _write(self) -> None:
        """At every member that lets it in: there is no better way to find a second writer."""
        world = self.world
        for server in self.fleet.writable():
            self._insert(server)
        world.after(world.between(*self._every_us), self._write)

    def _insert(self, server: Postgres) -> None:
        self.rows += 1
        entry = self.fleet.checkers.client_commit(server, self.rows)
        if entry is None:
            return
        self.world.after(_PATIENCE_US, lambda: self._lose_patience(server, entry))
        dice = self.world.between(0, 999)
        if dice < _CANCELS_PERMILLE:
            self._end_wait(server, entry, "writes cancelled while they waited")
        elif dice < _CANCELS_PERMILLE + _TERMINATED_PERMILLE:
            self._end_wait(server, entry, "backends ended while they waited")

    def _lose_patience(self, server: Postgres, entry: Entry) -> None:
        """It closes its socket, which PostgreSQL does not notice; the row is in doubt, and another one is tried."""
        if any(waiter.entry is entry for waiter in server.waiters):
            self.world.count("writes given up in doubt")
            retries = self.world.chance(_RETRIES_PERMILLE) and server.lets_clients_in
            if retries and server.member not in self.fleet.down:
                self._insert(server)

    def _end_wait(self, server: Postgres, entry: Entry, what: str) -> None:
        """By its driver's timeout, or by a person; the row is there, and may be nowhere else."""

        def end() -> None:
            if server.cancel_wait(entry):
                self.world.count(what)

        server.later(500, _PATIENCE_US, end)
