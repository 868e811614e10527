"""R9 and R11 by content: who attaches to whom, and what stands in the history of who is promoted.

PostgreSQL's own check comes after the follower was counted (E1), and knows of timelines and positions only; here the
records themselves are compared, at the moment at which a receiver first speaks to its upstream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulator.violation import Violation

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet
    from tests.simulator.model_postgres import Postgres


class AttachTruth:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        for server in fleet.postgres.values():
            server.on_connect = self.connects

    def promoted(self, server: Postgres) -> None:
        """By the end of its recovery: the timeline on which the record has seen it sealed is its parent."""
        record = self._fleet.etcd.record
        if record is None or record.candidate_position is None or record.timeline_max != server.timeline:
            return
        parents = [step.timeline for step in server.history]
        if parents[-1:] != [record.candidate_position.timeline]:
            raise Violation(
                f"R11: {server.member} is promoted from {record.candidate_position}, and the history of "
                f"{server.timeline} says {parents}"
            )

    def connects(self, server: Postgres, upstream: Postgres, epoch: int) -> None:
        if epoch != self._fleet.checkers.timeline_epoch(upstream.timeline) or self._fleet.etcd.went_back:
            return  # by an older order: its upstream is another one by now, and no rule counts that name
        for t in range(server.timeline + 1, upstream.timeline + 1):
            if t not in server.histories:
                raise Violation(
                    f"R9: {server.member} attaches to {upstream.member} without the history of {t}"
                )
        common = min(len(server.log), len(upstream.log))
        if common and server.log[common - 1] != upstream.log[common - 1]:
            raise Violation(f"R9: {server.member} attaches to {upstream.member}, and has diverged from it")
