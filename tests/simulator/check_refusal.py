"""A refusal: nobody serves, somebody legal could be reached all the while, and nothing comes of it for too long.

Timed by need: from the last acknowledgement, over all epochs and phases that follow, for as long as the leader can act
and a legal candidate can be reached. While the primary itself could serve, the time stands still.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.facts import PostgresState
from orchestrator.core.record import Phase, Record
from tests.simulator.check_choice import legal_candidate
from tests.simulator.violation import Violation

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet

_LOOK_EVERY_US = 200_000
_REFUSES_AT_MOST_MS = 5_000


class Refusals:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._world = fleet, fleet.world
        self._needed_us = 0
        self._leader: object = None
        self._began_us = self._began_late_us = self._began_epoch = 0
        self.longest_permille = 0
        """Of the patience."""
        self._world.after(_LOOK_EVERY_US, self._look)

    def _look(self) -> None:
        self._world.after(_LOOK_EVERY_US, self._look)
        record, leader = self._fleet.record(), self._fleet.control
        acknowledged = self._fleet.checkers.served_us > self._world.now_us - _LOOK_EVERY_US
        if acknowledged or record is None or record.phase is Phase.INITIALISING:
            self._needed_us = 0
            return
        now_leads = (leader.name, leader.boot, self._fleet.etcd.term)
        if now_leads != self._leader or not self.leader_can_act():
            self._leader, self._needed_us = now_leads, 0
            return
        why = why_needed(self._fleet, record)
        if not why:
            return
        candidate = legal_candidate(self._fleet)
        if not candidate:
            self._needed_us = 0
            return
        if not self._needed_us:
            self._began_late_us, self._began_epoch = self._world.late_us, record.epoch
        self._needed_us += _LOOK_EVERY_US
        self._judge(record, why, candidate)

    def _judge(self, record: Record, why: str, candidate: str) -> None:
        waited_ms, patience_ms = self._needed_us // 1_000, self._patience_ms(record)
        self.longest_permille = max(self.longest_permille, waited_ms * 1_000 // patience_ms)
        if waited_ms > patience_ms:
            raise Violation(
                f"refused for {waited_ms} ms, now in {record.phase} of epoch {record.epoch}: {why}, and {candidate} "
                f"could take over; {patience_ms} ms are allowed"
            )

    def _patience_ms(self, record: Record) -> int:
        """What the profile lets pass on the way so far, and then five seconds. A candidate that is given up costs
        the time that it was given; so many of them are borne as there are members."""
        profile = self._fleet.profile
        allowed_ms = 2 * profile.suspect_ceiling_ms + profile.confirm_within_ms + profile.stalled_after_ms
        epochs = record.epoch - self._began_epoch
        if record.phase is not Phase.STABLE or epochs:
            allowed_ms += 40 * profile.further_seals_ms + profile.drain_within_ms
        if record.phase is Phase.PROMOTING or epochs > 1:
            tries = max(1, min(epochs, len(record.members)))
            allowed_ms += tries * (profile.promote_within_ms + profile.restart_in_place_after_ms)
        late_ms = (self._world.late_us - self._began_late_us) // 1_000
        return _REFUSES_AT_MOST_MS + allowed_ms + late_ms

    def leader_can_act(self) -> bool:
        fleet = self._fleet
        leader, etcd = fleet.control, fleet.etcd
        return (
            etcd.holder == leader.name
            and leader.alive
            and not leader.frozen
            and leader.reaches_etcd
            and self._world.now_us >= etcd.slow_until_us
            and not etcd.went_back
        )


def why_needed(fleet: Fleet, record: Record) -> str:
    """Empty: the primary of the record could serve."""
    if record.phase is not Phase.STABLE or record.primary is None:
        return f"the record is {record.phase}"
    name = str(record.primary)
    server, host = fleet.postgres[name], fleet.agents[name].host
    if server.state is not PostgresState.PRIMARY:
        return f"{name} is {server.state}"
    if host.postgres_process.frozen:
        return f"{name} is frozen"
    if server.full or fleet.world.now_us < server.stalled_until:
        return f"{name} can't write"
    # With one voice that is heard it is no failover but a cut path (ControlPathCut, AgentLost).
    others = [other for other in fleet.agents if other != name and other not in fleet.down]
    nodes = [node.place for node in fleet.nodes if node.alive]
    if not any(fleet.network.passes(name, place) for place in (*others, *nodes)):
        return f"{name} is isolated"
    return ""
