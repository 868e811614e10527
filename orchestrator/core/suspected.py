"""Since when the primary that is left was suspected: the first step of the account of the epoch that follows.

Pure. Told only where the suspicion led to something, with the moment at which it began. What was suspected before
and came back, in the same epoch, is another suspicion.
"""

from __future__ import annotations

from common.profile import Profile
from common.timebase import elapsed_ms
from orchestrator.core.effects import Story
from orchestrator.core.liveness import threshold_ms
from orchestrator.core.record import Record
from orchestrator.core.view import ClusterView


def suspected(record: Record, view: ClusterView, profile: Profile, operation: str = "") -> tuple[Story, ...]:
    """Nothing where the primary speaks: then another sign than silence led to the failover."""
    suspicion = view.suspicion
    if suspicion is None or suspicion.member != record.primary:
        return ()
    seen = view.member(suspicion.member)
    if seen.heard_at is not None:
        silent_ms = elapsed_ms(since=seen.heard_at, now=suspicion.since)
        limit_ms = threshold_ms(seen, profile, expected_every_ms=profile.beat_primary_every_ms)
        text = f"silent for {silent_ms} ms, the threshold is {limit_ms} ms"
    else:
        assert view.listening_since is not None
        listening_ms = elapsed_ms(since=view.listening_since, now=suspicion.since)
        text = f"never heard in {listening_ms} ms of listening"
    return (
        Story(
            record.epoch + 1,
            "suspected",
            text,
            operation,
            suspicion.member,
            happened_at=suspicion.since,
        ),
    )
