"""Do the other control nodes hear a primary that is silent to this one? (protocol.md, "When to try")

Pure. They are asked when the suspicion begins and again while it lasts. What they heard last grows old between two
questions: then they are asked first, and no verdict is made of an old answer.
"""

from __future__ import annotations

from common.profile import Profile
from common.timebase import Instant, after_ms
from orchestrator.core.view import Suspicion

HEARD_LATER_MS = 150
"""A witness, or another control node, disagrees only if it heard clearly after we did: the same last words take their
time to each of us."""
_ASK_AGAIN_MS = 500


def heard_elsewhere(suspicion: Suspicion, last_at: Instant, now: Instant, profile: Profile) -> Instant | None:
    """When another control node heard it last, by this node's clock. None where none did clearly after `last_at`, our own
    last word of it, and where none does any more: they were asked again since, or had their time to answer."""
    heard_at = _later(suspicion, last_at)
    if heard_at is None:
        return None
    old_at = after_ms(heard_at, profile.suspect_floor_ms)
    if now <= old_at:
        return heard_at
    answered_by = after_ms(old_at, 2 * profile.confirm_within_ms)
    if suspicion.asked_at >= old_at:
        if not suspicion.awaiting:
            return None
        answered_by = min(answered_by, after_ms(suspicion.asked_at, profile.confirm_within_ms))
    return heard_at if now < answered_by else None


def ask_again_at(suspicion: Suspicion, last_at: Instant, profile: Profile) -> Instant:
    """Twice a second, and as soon as their last word has grown old."""
    again_at, heard_at = after_ms(suspicion.asked_at, _ASK_AGAIN_MS), _later(suspicion, last_at)
    if heard_at is None:
        return again_at
    old_at = after_ms(heard_at, profile.suspect_floor_ms)
    return min(again_at, old_at) if suspicion.asked_at < old_at else again_at


def _later(suspicion: Suspicion, last_at: Instant) -> Instant | None:
    heard_at = suspicion.heard_elsewhere_at
    return heard_at if heard_at is not None and heard_at > after_ms(last_at, HEARD_LATER_MS) else None
