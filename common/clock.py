"""The only place that imports `time`."""

from __future__ import annotations

import time
from typing import Protocol

from common.timebase import Instant

__all__ = ["BootClock", "Clock", "Instant"]


class Clock(Protocol):
    def now(self) -> Instant: ...

    def wall_ms(self) -> int:
        """Milliseconds since 1970, for human eyes only: nothing decides by it."""
        ...


class BootClock:
    """CLOCK_BOOTTIME counts a suspended host's sleep too (traps of PostgreSQL, 38)."""

    def now(self) -> Instant:
        return Instant(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000
