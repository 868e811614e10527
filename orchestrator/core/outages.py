"""Which gap of the canary belongs to which incident: the longest one that touches it.

Pure. An incident lasts from its first story to the one that says the cluster is whole again. A gap that touches
two of them (a promotion failed, another epoch went on) is told for both. The birth of a cluster is no incident:
nobody was served before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from common.timebase import Instant
from orchestrator.core.gaps import PERIOD_MS, Gap

WINDOWS_MAX = 4
TOLD_FROM_MS = 3 * PERIOD_MS
"""While it goes on, shorter gaps are not worth a write to etcd; the longest one is told at the end in any case."""
STILL_AFTER_MS = 30_000
"""A gap that has no end is told after this time, and again each time it has doubled."""

_BEGINNINGS = frozenset({"suspected", "sealing", "candidate given up"})
"""The stories that begin an epoch; a leader that tells another one first has taken over in the middle."""
_END = "whole"


@dataclass(frozen=True, slots=True)
class CanaryOutage:
    """The outage of one incident, as the canary saw it."""

    epoch: int
    outage_ms: int
    resolution_ms: int
    at_least: bool
    """Only a part of it was seen, or it goes on."""


@dataclass(frozen=True, slots=True)
class Window:
    """One incident."""

    epoch: int
    opened_at: Instant
    from_its_start: bool
    """This leader told its first story, and its canary saw every gap of it whole: where one had begun already when
    it began to look, a longer one that follows may still be the shorter of the two."""
    closed_at: Instant | None = None
    longest: Gap | None = None
    told_ms: int = -1
    """What was told last; -1: nothing."""


Windows = tuple[Window, ...]
"""Oldest first; only the last one may be open."""


def heard(windows: Windows, epoch: int, story: str, at: Instant) -> tuple[Windows, CanaryOutage | None]:
    """A story was told. The end of an incident tells its longest gap, however short."""
    newest = windows[-1] if windows else None
    if epoch <= 1 or (newest is not None and epoch < newest.epoch):
        return windows, None
    if newest is None or epoch > newest.epoch:
        opened = Window(epoch, at, from_its_start=story in _BEGINNINGS)
        closed = tuple(w if w.closed_at is not None else replace(w, closed_at=at) for w in windows)
        windows = (*closed, opened)[-WINDOWS_MAX:]
        newest = opened
    if story != _END or newest.closed_at is not None:
        return windows, None
    ended = replace(newest, closed_at=at)
    told = None
    if ended.told_ms < 0 and ended.longest is not None:
        ended, told = _tell(ended, ended.longest, goes_on=False)
    return (*windows[:-1], ended), told


def met(windows: Windows, gap: Gap) -> tuple[Windows, tuple[CanaryOutage, ...]]:
    """A gap has ended: told for every incident that it touches and that had no longer one."""
    if not windows or all(not _touches(window, gap) for window in windows):
        return windows, ()
    kept: list[Window] = []
    told: list[CanaryOutage] = []
    for window in windows:
        if not _touches(window, gap):
            kept.append(window)
            continue
        grown = replace(window, from_its_start=window.from_its_start and gap.seen_whole)
        if window.longest is not None and gap.length_ms <= window.longest.length_ms:
            kept.append(grown)
            continue
        grown = replace(grown, longest=gap)
        if gap.length_ms >= TOLD_FROM_MS or window.closed_at is not None:
            grown, outage = _tell(grown, gap, goes_on=False)
            told.append(outage)
        kept.append(grown)
    return tuple(kept), tuple(told)


def still(windows: Windows, gap: Gap) -> tuple[Windows, tuple[CanaryOutage, ...]]:
    """This gap goes on: an incident must not be silent about it for as long as it lasts."""
    if gap.length_ms < STILL_AFTER_MS:
        return windows, ()
    kept: list[Window] = []
    told: list[CanaryOutage] = []
    for window in windows:
        due_ms = max(STILL_AFTER_MS, 2 * window.told_ms)
        if _touches(window, gap) and gap.length_ms >= due_ms:
            window, outage = _tell(window, gap, goes_on=True)  # noqa: PLW2901 - the window as it is from now on
            told.append(outage)
        kept.append(window)
    return tuple(kept), tuple(told)


def _touches(window: Window, gap: Gap) -> bool:
    if gap.ended_at < window.opened_at:
        return False
    return window.closed_at is None or gap.began_at <= window.closed_at


def _tell(window: Window, gap: Gap, *, goes_on: bool) -> tuple[Window, CanaryOutage]:
    whole = window.from_its_start and gap.seen_whole and not goes_on
    outage = CanaryOutage(window.epoch, gap.length_ms, gap.resolution_ms, at_least=not whole)
    return replace(window, told_ms=gap.length_ms), outage
