"""How long nothing was acknowledged: the arithmetic of the canary's gaps.

Pure. A gap reaches from one acknowledged write to the next. What a canary can't know stands beside it: that it
began to look in the middle, that it was last turned away some time before it was served, that its own process
did not run. Nothing here decides anything; what it says is for people.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from common.timebase import MS_US, Instant, elapsed_ms

PERIOD_MS = 20
"""Between two writes; also between two attempts of which the first failed."""


@dataclass(frozen=True, slots=True)
class Gap:
    began_at: Instant
    """The last acknowledgement before it; where there was none, when the canary began to look."""
    ended_at: Instant
    """The first one after it, or now while it goes on."""
    turned_away_at: Instant | None = None
    """The newest moment of which it is known that no client could write then."""
    stalled_us: int = 0
    """How long the canary's own process did not run at either end of it, as far as it knows."""
    seen_whole: bool = True
    """False where the canary began to look when it had begun already."""

    @property
    def length_ms(self) -> int:
        return elapsed_ms(since=self.began_at, now=self.ended_at)

    @property
    def at_least_ms(self) -> int:
        """Without the time in which the canary's own process stood still."""
        return max(0, self.length_ms - -(-self.stalled_us // MS_US))

    @property
    def resolution_ms(self) -> int:
        """How far another client's gap may be from this one: a period, or longer where this canary was blind."""
        resolution_ms = PERIOD_MS
        if self.stalled_us:
            resolution_ms += -(-self.stalled_us // MS_US)
        if self.turned_away_at is not None:
            # Another client might have been served any time between the two, also while the attempt that ended the
            # gap took its time on a busy host; the pause is a period by itself.
            blind_ms = elapsed_ms(since=self.turned_away_at, now=self.ended_at)
            resolution_ms = max(resolution_ms, blind_ms - PERIOD_MS)
        return min(resolution_ms, max(self.length_ms, PERIOD_MS))


@dataclass(frozen=True, slots=True)
class Acknowledgements:
    """What is kept of all the writes so far."""

    since: Instant
    """When the canary began to look."""
    stalled_us: int = 0
    """The stalls of the process in all, as counted at the newest outcome."""
    stalled_at_first_us: int = 0
    """Between the newest acknowledgement and the first failure after it."""
    last_at: Instant | None = None
    turned_away_at: Instant | None = None
    """Since the newest acknowledgement."""


def acknowledged(before: Acknowledgements, at: Instant, *, stalled_us: int) -> tuple[Acknowledgements, Gap]:
    """A write was acknowledged. `stalled_us` counts all stalls of the process so far."""
    return Acknowledgements(before.since, stalled_us, last_at=at), open_gap(before, at, stalled_us=stalled_us)


def turned_away(before: Acknowledgements, at: Instant, *, stalled_us: int) -> Acknowledgements:
    """Nobody was served at this moment: a refusal came then, or what was begun then was never answered.

    What the process missed between two failures changes neither end of the gap."""
    known = before.turned_away_at
    missed_us = max(0, stalled_us - before.stalled_us)
    return replace(
        before,
        turned_away_at=at if known is None else Instant(max(known, at)),
        stalled_us=stalled_us,
        stalled_at_first_us=missed_us if known is None else before.stalled_at_first_us,
    )


def open_gap(state: Acknowledgements, now: Instant, *, stalled_us: int) -> Gap:
    """The one that goes on now: its length counts up to `now`."""
    return Gap(
        began_at=state.since if state.last_at is None else state.last_at,
        ended_at=now,
        turned_away_at=state.turned_away_at,
        stalled_us=state.stalled_at_first_us + max(0, stalled_us - state.stalled_us),
        seen_whole=state.last_at is not None,
    )
