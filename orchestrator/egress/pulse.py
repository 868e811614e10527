"""How long this process did not run when it should have: what it can't blame on those it waits for."""

from __future__ import annotations

import asyncio

from common.clock import Clock
from common.timebase import MS_US
from orchestrator.core.gaps import PERIOD_MS

STALLED_FROM_US = 10 * MS_US
"""Late by less is how any machine is."""


class Pulse:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_at = clock.now()
        self._stalled_us = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_MS / 1000)
            self.beat()

    def beat(self) -> None:
        self._stalled_us, self._last_at = self.stalled_us, self._clock.now()

    @property
    def stalled_us(self) -> int:
        """In all, the stall that goes on now included."""
        late_us = self._clock.now() - self._last_at - PERIOD_MS * MS_US
        return self._stalled_us + (late_us if late_us >= STALLED_FROM_US else 0)
