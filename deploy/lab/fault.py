"""What was done to the fleet, and when. Times are CLOCK_MONOTONIC in microseconds."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """What was done and when. `label` is what a table must say of it."""

    label: str
    where: str
    at_us: int
    ends_sent: int | None = None
    """Segments with FIN or RST that the host sent once its link was down; None: nobody counted."""


def now_us() -> int:
    return time.monotonic_ns() // 1000
