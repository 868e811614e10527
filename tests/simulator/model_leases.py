"""What a leader answers to a beat: a lease, or none ("Staying up" a; orchestrator/shell/leases.py).

A grant stands from a decision to the next; it is handed out only with a proof of the election that was sent
at most V ago, looked at after the beat arrived. A leader that was replaced goes on until its proof is too old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.facts import Facts
from common.timebase import Instant
from orchestrator.core import events as ev
from tests.simulator.model_control import Control, ModelEtcd
from tests.simulator.world import World

if TYPE_CHECKING:
    from tests.simulator.model_agent import Agent

_PROVED_AGAIN_AFTER_US = 300_000
_GRANTED_EVERY_US = 250_000
"""More often changes nothing: a lease only counts from a later moment."""


class Leases:
    def __init__(self, world: World, etcd: ModelEtcd) -> None:
        self.world, self.etcd = world, etcd
        self._leaders: list[tuple[Control, int]] = []
        """Each with when its last proof was sent; the newest last."""
        self._granted_at: dict[str, int] = {}

    def beat(self, agent: Agent, facts: Facts, sent_at: Instant, leader: Control, *, cut: bool) -> None:
        """It has arrived; agents send to every control node, so one that leads no more hears it too, also when
        the path to the leader is cut."""
        now_us = self.world.now_us
        if all(known is not leader for known, _ in self._leaders):
            self._leaders.append((leader, 0))
        leaders = []
        for known, proved_us in self._leaders:
            at_us = proved_us
            if known.alive and now_us - proved_us > _PROVED_AGAIN_AFTER_US and known.term == self.etcd.term:
                at_us = now_us - self.world.between(500, 30_000)
            if known is not leader:
                known.feed(ev.FactsHeard(self.world.now, facts), urgent=False)
            proved = now_us - at_us <= agent.profile.proof_trusted_ms * 1_000
            if facts.open and known.alive and proved and not (cut and known is leader):
                self._grant(known, agent, sent_at)
            if known is leader or now_us - at_us < 5_000_000:
                leaders.append((known, at_us))
        self._leaders = leaders

    def _grant(self, leader: Control, agent: Agent, sent_at: Instant) -> None:
        grant = leader.grant
        if grant is None or (grant.member, grant.epoch) != (agent.name, agent.state.obeyed.epoch):
            return
        if self.world.now_us - self._granted_at.get(agent.name, 0) < _GRANTED_EVERY_US:
            return
        self._granted_at[agent.name] = self.world.now_us
        if leader.term != self.etcd.term:
            self.world.count("leases granted by a stale leader")
        epoch, lease_ms = grant.epoch, grant.lease_ms
        self.world.after(self.world.between(200, 3_000), lambda: agent.granted(epoch, sent_at, lease_ms))
