"""Instants and durations as integers of microseconds.

Pure. An `Instant` belongs to the clock of one process or host: it is never sent and never
stored in etcd. Ages and durations travel; they are plain integers whose names end in `_us`
or `_ms`. No floating point: a seed must give the same trace on every machine.
"""

from __future__ import annotations

from typing import NewType

Instant = NewType("Instant", int)
"""Microseconds on CLOCK_BOOTTIME, or on the simulator's clock."""

MS_US = 1_000
SECOND_US = 1_000_000


def after_ms(at: Instant, duration_ms: int) -> Instant:
    return Instant(at + duration_ms * MS_US)


def before_ms(at: Instant, duration_ms: int) -> Instant:
    return Instant(at - duration_ms * MS_US)


def elapsed_ms(*, since: Instant, now: Instant) -> int:
    """Whole milliseconds; 0 when `since` lies ahead (an age is never negative)."""
    return max(0, now - since) // MS_US
