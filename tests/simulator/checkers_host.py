"""I12 and I14, and what clients read, by a truth of their own: who was promoted when, and who was well when.

I12: a member that was superseded shows nothing to clients beyond the bound, in the running time of its own
clock. I14: a deadline never stops a primary whose voters answered all the while.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from common.facts import PostgresState
from tests.simulator.model_agent import Agent
from tests.simulator.model_parts import parse_rule
from tests.simulator.model_postgres import Postgres
from tests.simulator.violation import Violation

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet

_LOOKS_EVERY_US = 40_000
_WELL_PERMILLE = 650
"""Of a lease: the guard commits itself after a third of one, and a commit takes a moment."""


class HostCheckers:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.world = fleet, fleet.world
        self._superseded_at: dict[str, int] = {}
        """Members that were primaries before the newest promotion → their running time at that moment."""
        self._superseded_run: dict[str, int] = {}
        """Which start of theirs it was: a later one shows nothing at all."""
        self._newest_timeline = 1
        self._ill_at: dict[str, int] = {}
        """The last moment, on its own clock, at which a primary was not in a state to commit."""
        self._shown: dict[str, int] = {}
        """Which start of its server showed itself to clients."""
        self._looked_at_us = 0
        self.stale_us_max = 0
        self.on_fenced: Callable[[str], None] = lambda name: None
        for agent in fleet.agents.values():
            agent.host.on_fenced = lambda by, a=agent: self._fenced(a, by)  # type: ignore[misc]
            agent.host.on_stopped = self._stopped

    def promoted(self, server: Postgres) -> None:
        """Every primary on a lower timeline is superseded from now on; a late one is, from its first moment."""
        self._superseded_at.pop(server.member, None)
        if server.timeline < self._newest_timeline:
            self._superseded(server)
        self._newest_timeline = max(self._newest_timeline, server.timeline)
        for name, agent in self.fleet.agents.items():
            pg = agent.postgres
            # Also one that is down, and may be started again as the primary that it was.
            if name == server.member or pg.standby_signal or pg.timeline >= server.timeline or not pg.log:
                continue
            if name not in self._superseded_at:
                self._superseded(pg)

    def _superseded(self, server: Postgres) -> None:
        self._superseded_at[server.member] = server.host.running_us
        self._superseded_run[server.member] = server.run

    def after_each(self) -> None:
        if self.world.now_us - self._looked_at_us < _LOOKS_EVERY_US:
            return
        self._looked_at_us = self.world.now_us
        for name, agent in self.fleet.agents.items():
            pg = agent.postgres
            is_primary = pg.state is PostgresState.PRIMARY
            if is_primary and pg.lets_clients_in and self._shown.get(name) != pg.run:
                self._shown[name] = pg.run
                self.fleet.checkers.opened(pg)
            if name in self._superseded_at:
                self._read_at(agent, pg)
            if is_primary and not self._is_well(agent, pg):
                self._ill_at[name] = agent.now

    # I12

    def _read_at(self, agent: Agent, pg: Postgres) -> None:
        """A client that is still in, or gets in, reads what was true when it was superseded."""
        if pg.standby_signal or not pg.log:
            del self._superseded_at[agent.name]
            return
        started_again = pg.run != self._superseded_run[agent.name] and pg.state is PostgresState.PRIMARY
        if started_again and pg.lets_clients_in:
            raise Violation(f"I12: {agent.name} was superseded, is started again, and lets clients in")
        host = agent.host
        if not pg.lets_clients_in or host.postgres_process.frozen or not host.holds_deadline:
            return
        since_us = max(self._superseded_at[agent.name], host.unheld_until_us)
        stale_us = host.running_us - since_us
        self.stale_us_max = max(self.stale_us_max, stale_us)
        profile = agent.profile
        bound_us = profile.lease_ms * 1_000
        if host.reason == "a":  # V on the leader's clock, which drifts against this one
            drift = profile.drift_permille
            bound_us += profile.proof_trusted_ms * (1_000 + drift) * 1_000 // (1_000 - drift)
            bound_us += self.fleet.hidden_us * (1_000 + drift) // 1_000
        if stale_us > bound_us:
            raise Violation(
                f"I12: {agent.name} was superseded {stale_us // 1000} ms of its own clock ago and still shows "
                f"it to clients; the bound is {bound_us // 1000} ms"
            )
        self.world.count("stale reads within the bound")

    # I14

    def _is_well(self, agent: Agent, pg: Postgres) -> bool:
        """A commit begun now would be acknowledged, and somebody is there to begin it."""
        host, disk = agent.host, agent.durable
        if not pg.lets_clients_in or pg.full or self.world.now_us < pg.stalled_until:
            return False
        if host.postgres_process.frozen or not host.holds_deadline:
            return False
        epoch = self.fleet.checkers.timeline_epoch(pg.timeline)
        if disk is None or disk.serving_epoch != epoch or disk.sealed_epoch > epoch:
            return False  # its state was lost, or it promised not to serve
        if pg.loaded_rule != pg.conf.rule:
            return False
        k, names = parse_rule(pg.conf.rule)
        if not k:
            return not pg.waits
        answering = 0
        for sender in pg.senders:
            follower = sender.follower
            answering += (
                sender.alive
                and sender.streaming
                and sender.rule == pg.conf.rule
                and sender.name in names
                and follower.receiver is not None
                and follower.receiver.sender is sender
                and follower.state is PostgresState.STANDBY
                and not follower.host.postgres_process.frozen
                and not follower.full
                and self.world.now_us >= follower.stalled_until
                and pg.find(follower.member) is follower
            )
        return answering >= k

    def _fenced(self, agent: Agent, by: str) -> None:
        self.on_fenced(agent.name)
        if agent.postgres.state is not PostgresState.PRIMARY or agent.name in self._superseded_at:
            return
        if not self._is_well(agent, agent.postgres):
            return
        host = agent.host
        well_us = min(agent.now - self._ill_at.get(agent.name, 0), host.running_us - host.unheld_until_us)
        if well_us > agent.profile.lease_ms * _WELL_PERMILLE:
            raise Violation(
                f"I14: {agent.name} is fenced by its {by}, and {well_us // 1000} ms long its voters answered"
            )

    def _stopped(self, agent: Agent) -> None:
        """By its agent's recipe: an order to serve never stops what serves."""
        running_for = agent.running_for
        if agent.recipe is None or running_for is None or agent.name in self._superseded_at:
            return
        if type(running_for.order).__name__ == "Serve" and agent.postgres.state is PostgresState.PRIMARY:
            raise Violation(f"I14: {agent.name} was told to serve, and is stopped by its own agent")
