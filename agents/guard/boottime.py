"""The guard's clock: the same CLOCK_BOOTTIME, in µs, as `common/clock.py`, which the guard may not import."""

from __future__ import annotations

import time

SECOND_US = 1_000_000


def now_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def sleep_us(duration_us: int) -> None:
    time.sleep(duration_us / SECOND_US)
