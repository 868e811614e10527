"""Must this primary fence itself? (protocol.md, "Staying up")

Pure. A deadline is s + L for the latest s at which a reason to stay up began; it only grows, and
one that is nearer than the guard's margin is final.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.timebase import Instant, after_ms, elapsed_ms


@dataclass(frozen=True, slots=True)
class Deadline:
    at: Instant | None = None
    """None: there was no reason to stay up yet."""

    def extended(self, *, begun_at: Instant, lease_ms: int, now: Instant, margin_ms: int) -> Deadline:
        """By a reason that began at `begun_at` (read before sending). A final one stays as it is."""
        if self.is_final(now=now, margin_ms=margin_ms):
            return self
        offered = after_ms(begun_at, lease_ms)
        return self if self.at is not None and self.at >= offered else Deadline(offered)

    def left_ms(self, now: Instant) -> int | None:
        """None without a deadline; 0 when it has passed."""
        return None if self.at is None else elapsed_ms(since=now, now=self.at)

    def is_final(self, *, now: Instant, margin_ms: int) -> bool:
        """Nearer than the margin, or past: nothing extends it, the killing begins."""
        return self.at is not None and now >= self.at - margin_ms * 1000
