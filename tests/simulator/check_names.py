"""What both name servers say, looked at in the world: nobody who is known to be superseded, once that was confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.names import WantedNames
from orchestrator.core.record import Phase, Record
from tests.simulator.model_network import DNS
from tests.simulator.violation import Violation

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet

_LOOK_EVERY_US = 200_000
_OLD_AT_MOST_US = 6_000_000
"""So long may a name of an earlier epoch stand while its successor serves and the leader reaches the servers: two
changes that fail, with the pauses between them."""


class NamesLooked:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._world = fleet, fleet.world
        self._old_us = 0
        self._leader: object = None
        self._world.after(_LOOK_EVERY_US, self._look)

    def _look(self) -> None:
        self._world.after(_LOOK_EVERY_US, self._look)
        fleet = self._fleet
        record, confirmed = fleet.record(), fleet.control_checkers.confirmed_epoch
        said = {"primary": fleet.names.primary, "secondary": fleet.names.secondary}
        for server, words in said.items():
            if words is not None and words.epoch < confirmed and words.primary:
                raise Violation(
                    f"DNS: the zone's {server} names {words.primary} of epoch {words.epoch}, and epoch {confirmed} was "
                    f"confirmed: it is known to be superseded"
                )
        self._time(record, fleet.names.primary)

    def _time(self, record: Record | None, words: WantedNames | None) -> None:
        leader = self._fleet.control
        now_leads = (leader.name, leader.boot, self._fleet.etcd.term)
        old = record is not None and words is not None and self._is_old(record, words)
        if not old or now_leads != self._leader or not self._could_be_changed():
            self._leader, self._old_us = now_leads, 0
            return
        self._old_us += _LOOK_EVERY_US
        if self._old_us > _OLD_AT_MOST_US and record is not None and words is not None:
            raise Violation(
                f"DNS: {words.primary} of epoch {words.epoch} stands there {self._old_us // 1_000} ms after "
                f"{record.primary} serves in epoch {record.epoch}, and nothing is in the way"
            )

    def _is_old(self, record: Record, words: WantedNames) -> bool:
        return record.phase is Phase.STABLE and words.epoch < record.epoch and self._fleet.serving()

    def _could_be_changed(self) -> bool:
        fleet, names = self._fleet, self._fleet.names
        return (
            fleet.refusals.leader_can_act()
            and fleet.network.both_ways(fleet.control.place, DNS)
            and self._world.now_us >= max(names.down_until_us, names.slow_until_us)
        )
