"""Is silence suspicious yet? (protocol.md, "When to try"; idea: an adaptive threshold between borders)

Pure. Everyday picture: somebody who speaks ten times a second and then says nothing for most of a
second is missed; somebody who always mumbled irregularly gets a little longer, but never for ever.
"""

from __future__ import annotations

from enum import Enum

from common.profile import Profile
from common.timebase import Instant, elapsed_ms
from orchestrator.core.view import MISSED_KEPT, MemberView

_GAPS_MISSED = 4
"""Three beats lost in a row must not look like silence; the fourth does (profile.mistakes)."""
_LOSSY_FOR_MS = 15_000
"""As long as four gaps in the beats count. Of a fifth of all packets lost, a tenth of a second between beats, fewer than
four fall into some five seconds of a hundred, and one such moment is enough; at four beats a second into most."""
_LOSSY_TIMES = 6
_SMOOTHING = 8
"""Weight of a new gap: 1/8, as TCP smooths round trips (RFC 6298)."""


class Liveness(Enum):
    ALIVE = "alive"
    LATE = "late"
    SILENT = "silent"
    NEVER_HEARD = "never_heard"


def threshold_ms(member: MemberView, profile: Profile, *, expected_every_ms: int) -> int:
    """Between the profile's floor and ceiling; for a slower beat both are moved up by what it is slower."""
    later_ms = max(0, (expected_every_ms - profile.beat_primary_every_ms) * 2)
    usual_us = max(member.gap_us, expected_every_ms * 1000)
    adaptive_ms = _GAPS_MISSED * (usual_us + 4 * member.gap_deviation_us) // 1000
    floor_ms = profile.suspect_floor_ms + later_ms
    return min(max(adaptive_ms, floor_ms), profile.suspect_ceiling_ms + later_ms)


def classify(member: MemberView, now: Instant, profile: Profile, *, expected_every_ms: int) -> Liveness:
    if member.heard_at is None:
        return Liveness.NEVER_HEARD
    silence_ms = elapsed_ms(since=member.heard_at, now=now)
    if silence_ms >= threshold_ms(member, profile, expected_every_ms=expected_every_ms):
        return Liveness.SILENT
    if silence_ms >= 2 * expected_every_ms:
        return Liveness.LATE
    return Liveness.ALIVE


def until_silent_ms(
    member: MemberView, now: Instant, profile: Profile, *, expected_every_ms: int
) -> int | None:
    """When to look again if nothing is heard until then; None when there is no such moment ahead."""
    if member.heard_at is None:
        return None
    limit_ms = threshold_ms(member, profile, expected_every_ms=expected_every_ms)
    left_ms = limit_ms - elapsed_ms(since=member.heard_at, now=now)
    return left_ms if left_ms > 0 else None


def with_gap(gap_us: int, deviation_us: int, sample_us: int) -> tuple[int, int]:
    """The smoothed gap and deviation after another gap; integers, so that a seed gives one trace.

    Who speaks earlier than usual, because something happened or because a primary beats faster than the
    standby that it was, is not irregular: only lateness counts.
    """
    if gap_us == 0:
        return sample_us, sample_us // 4
    error_us = sample_us - gap_us
    return gap_us + error_us // _SMOOTHING, deviation_us + (max(0, error_us) - deviation_us) // _SMOOTHING


def patience_times(seen: MemberView, now: Instant) -> int:
    """How many times longer what comes over TCP is waited for: where beats are lost one by one TCP is slow, and not cut
    off (RFC 6298: each loss in a row doubles the wait). A change of the rule would end streams and open others, which
    takes seconds there (docs/detection.md)."""
    missed = seen.missed_at
    lossy = len(missed) == MISSED_KEPT and elapsed_ms(since=missed[0], now=now) < _LOSSY_FOR_MS
    return _LOSSY_TIMES if lossy else 1
