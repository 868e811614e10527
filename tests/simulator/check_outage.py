"""Failovers that count, and outages against the profile's arithmetic.

A failover counts if a client was acknowledged before and after it, the loss was detected from facts (nobody had
asked for it), and the cluster became whole. An outage is judged only where a single clean fault hit a whole
cluster in calm weather: then its length is detection plus a few steps, and longer is a violation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.profile import Profile
from orchestrator.core.record import Phase, Record
from tests.simulator.checkers import Violation

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet
    from tests.simulator.plan import Plan, Round

COUNTED = "failovers counted"
CLEAN = frozenset({"crash_primary", "lose_primary", "switchover"})
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
        self._rows = 0
        self._quiet_since_us = 0
        self._late_us = 0
        self.longest_ms = 0

    def begin(self, one: Round) -> None:
        alone = len(one.faults) == 1 and one.faults[0].fault in CLEAN
        calm = self._plan.weather == "calm" and self._plan.drift_permille == 0
        self._late_us = self._fleet.world.late_us
        self._watching = one.faults[0].fault if alone and calm else ""
        self.longest_ms = 0
        self._rows = self._fleet.checkers.client_rows
        self._quiet_since_us = self._fleet.world.now_us
        if self._watching:
            self._look()

    def _look(self) -> None:
        if not self._watching:
            return
        now_us = self._fleet.world.now_us
        if self._fleet.checkers.client_rows > self._rows:
            self._rows = self._fleet.checkers.client_rows
            self._quiet_since_us = now_us
        self.longest_ms = max(self.longest_ms, (now_us - self._quiet_since_us) // 1_000)
        self._fleet.world.after(5_000, self._look)

    def end(self) -> None:
        """The cluster is whole again."""
        watched, self._watching = self._watching, ""
        if not watched:
            return
        self._fleet.world.count("outages judged")
        late_ms = (self._fleet.world.late_us - self._late_us) // 1_000
        at_most_ms = allowed_ms(watched, self._fleet.profile) + late_ms
        if self.longest_ms > at_most_ms:
            raise Violation(
                f"outage of {self.longest_ms} ms after {watched} alone; the profile's arithmetic says {at_most_ms} ms"
            )


def allowed_ms(fault: str, profile: Profile) -> int:
    match fault:
        case "crash_primary":
            return _STEPS_MS + profile.further_seals_ms
        case "lose_primary":
            detected_ms = (
                profile.suspect_ceiling_ms + profile.confirm_within_ms + profile.beat_primary_every_ms
            )
            return detected_ms + _STEPS_MS + profile.further_seals_ms
        case _:
            return _CLEAN_STOP_MS + _STEPS_MS + profile.further_seals_ms
