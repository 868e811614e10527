"""Failovers that count, and outages against the profile's arithmetic.

A failover counts if a client was acknowledged before and after it, the loss was detected from facts (nobody had
asked for it), and the cluster became whole. An outage is judged only where a single fault hit a whole cluster in calm
weather: then its length is detection plus a few steps, or nothing to speak of, and longer is a violation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.profile import Profile
from common.timebase import elapsed_ms
from orchestrator.core.record import Phase, Record
from tests.simulator.check_refusal import why_needed
from tests.simulator.violation import Violation

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet
    from tests.simulator.plan import Plan, Round

COUNTED = "failovers counted"
WHILE_NEEDED = frozenset(
    {
        "crash_anybody", "backend_is_killed", "lose_anybody", "isolate_primary", "host_is_frozen",
        "machine_is_paused", "postgres_is_frozen", "disk_stalls",
    }
)  # fmt: skip
"""They hit anybody, or end before anybody takes over."""
_NOTHING_STOPS = frozenset(
    {
        "agent_is_killed", "agent_keeps_dying", "agent_is_frozen", "restart_agent", "guard_is_killed",
        "guard_is_frozen", "both_are_killed", "control_node_restarts", "another_leader", "leader_hears_nobody",
        "leader_does_not_hear_the_primary", "walsender_is_ended", "walreceiver_is_ended",
        "checkpointer_stalls", "late_orders",
    }
)  # fmt: skip
"""A primary with its voters goes on: neither its agent nor its guard nor a leader is needed for that."""
JUDGED = frozenset({"crash_primary", "lose_primary", "switchover"}) | WHILE_NEEDED | _NOTHING_STOPS
_LOOK_EVERY_US = 5_000
_STEPS_MS = 1_000
"""From the decision to the first acknowledgement, as the models take their time: seals and their reports, two
records, the promotion, slots and settings, voters that attach (they try every 100 ms), the client's own period."""
_CLEAN_STOP_MS = 800
"""A checkpoint, and a stop with its walsenders drained."""


class Failovers:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._served_from = 0
        """Rows acknowledged when the present epoch became STABLE."""
        self._leaving_counts = False
        self._pending: list[int] = []
        self._rows_done = 0

    @property
    def _rows(self) -> int:
        return self._fleet.checkers.client_rows

    def saved(self, old: Record | None, new: Record) -> None:
        if old is None:
            return
        if old.phase is Phase.STABLE and new.phase is Phase.SEALING:
            detected = new.operation is not None and new.operation.kind == "automatic"
            self._judge()
            self._leaving_counts = detected and self._rows > self._served_from
        if old.phase is not Phase.STABLE and new.phase is Phase.STABLE:
            if self._leaving_counts:
                self._pending.append(self._rows)
                self._leaving_counts = False
            self._served_from = self._rows

    def _judge(self) -> None:
        """Those whose new primary never acknowledged anything do not count."""
        if self._pending and self._rows <= self._pending[-1]:
            self._pending.pop()

    def whole_again(self) -> None:
        self._judge()
        self._fleet.world.count(COUNTED, len(self._pending))
        self._pending.clear()


class Outages:
    """The longest time without an acknowledgement in one round."""

    def __init__(self, fleet: Fleet, plan: Plan) -> None:
        self._fleet, self._plan = fleet, plan
        self._watching = ""
        self._round = 0
        self._epoch = 0
        self._rows = 0
        self._quiet_us = 0
        self._late_us = 0
        self.longest_ms = 0

    def _is_deciding(self) -> bool:
        """An earlier fault is over, and what it led to is not saved yet, or the leader has not heard the primary since
        (seeds 10205220 and 10213215)."""
        record, leader = self._fleet.record(), self._fleet.control
        if any(node.is_saving or node.is_unsettled for node in self._fleet.nodes):
            return True
        if record is None or record.primary is None:
            return False
        heard_at = leader.heard_at.get(record.primary)
        late_ms = 2 * self._fleet.profile.beat_primary_every_ms
        return heard_at is None or elapsed_ms(since=heard_at, now=leader.now) > late_ms

    def begin(self, one: Round) -> None:
        alone = len(one.faults) == 1 and one.faults[0].fault in JUDGED
        if self._fleet.in_store_until_us > self._fleet.world.now_us:
            alone = False  # something of an earlier round comes yet (seed 210766138)
        if self._is_deciding():
            alone = False
        self._late_us = self._fleet.world.late_us
        self._watching = one.faults[0].fault if alone and self._plan.weather == "calm" else ""
        self.longest_ms = self._quiet_us = 0
        self._rows = self._fleet.checkers.client_rows
        if self._watching:
            record = self._fleet.record()
            self._epoch = 0 if record is None else record.epoch
            self._round += 1
            self._look(self._round)

    def _look(self, of_round: int) -> None:
        if not self._watching or of_round != self._round:
            return
        if self._fleet.checkers.client_rows > self._rows:
            self._rows = self._fleet.checkers.client_rows
            self._quiet_us = 0
        elif self._counts():
            self._quiet_us += _LOOK_EVERY_US
        self.longest_ms = max(self.longest_ms, self._quiet_us // 1_000)
        self._fleet.world.after(_LOOK_EVERY_US, lambda: self._look(of_round))

    def _counts(self) -> bool:
        """Whoever is hit, and however long: while the primary could serve, or waits for its voters, it is no outage
        of the kind that a failover ends."""
        record = self._fleet.record()
        if self._watching not in WHILE_NEEDED or record is None:
            return True
        return record.epoch > self._epoch or bool(why_needed(self._fleet, record))

    def end(self) -> None:
        """The cluster is whole again."""
        watched, self._watching = self._watching, ""
        if not watched:
            return
        self._fleet.world.count("outages judged")
        late_ms = (self._fleet.world.late_us - self._late_us) // 1_000
        slowly = 1_000 + self._plan.drift_permille
        at_most_ms = allowed_ms(watched, self._fleet.profile) * slowly // 1_000 + late_ms
        if self.longest_ms > at_most_ms:
            raise Violation(
                f"outage of {self.longest_ms} ms after {watched} alone; the profile's arithmetic says {at_most_ms} ms"
            )


def allowed_ms(fault: str, profile: Profile) -> int:
    if fault in _NOTHING_STOPS:
        return _STEPS_MS
    beats_ms = profile.confirm_within_ms + profile.beat_primary_every_ms
    match fault:
        case "crash_primary" | "crash_anybody" | "backend_is_killed":
            detected_ms = 0
        case "lose_primary" | "lose_anybody" | "isolate_primary" | "host_is_frozen" | "machine_is_paused":
            detected_ms = profile.suspect_ceiling_ms + beats_ms
        case "postgres_is_frozen" | "disk_stalls":
            detected_ms = profile.stalled_after_ms + profile.probe_every_ms + beats_ms
        case _:
            detected_ms = _CLEAN_STOP_MS
    return detected_ms + _STEPS_MS + profile.further_seals_ms
