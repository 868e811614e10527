"""The timings of a profile, as relations that are checked once (interfaces.md, "Timings").

Pure. The leader loads a cluster's profile and tells it to the agents when they connect; an
agent keeps the last one it was told. Safety depends on none of these numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    beat_primary_every_ms: int
    beat_standby_every_ms: int
    suspect_floor_ms: int
    """Silence of a primary shorter than this is never suspicious. Lower: faster, more false alarms."""
    suspect_ceiling_ms: int
    """Silence longer than this always is, however irregular the beats were."""
    confirm_within_ms: int
    """How long the other witnesses are waited for once the primary is suspected."""
    further_seals_ms: int
    """How long further seals are awaited once R2 holds: a better candidate may be among them."""
    promote_within_ms: int
    """Then the candidate is given up, and the next one takes its place."""
    probe_every_ms: int
    stalled_after_ms: int
    lease_ms: int
    """L in "Staying up"."""
    voter_lost_ms: int
    """From the loss of a voter to the change of the rule."""
    drain_within_ms: int
    """How long a clean stop may take at a switchover; then at once."""
    restart_in_place_after_ms: int
    """A crashed primary that nobody replaced is started again, closed, after this long."""
    guard_margin_ms: int = 500
    """G: a deadline nearer than this is final."""
    proof_trusted_ms: int = 1_000
    """V: how long a leader trusts the proof of its election."""
    drift_permille: int = 100
    """ρ: how far any clock may drift from real time."""

    def mistakes(self) -> Iterator[str]:
        """What is wrong with the relations between the numbers, in words."""
        if self.beat_primary_every_ms * 4 > self.suspect_floor_ms:
            yield (
                f"suspect_floor_ms={self.suspect_floor_ms} must be at least 4 x beat_primary_every_ms="
                f"{self.beat_primary_every_ms}: three lost beats in a row must not look like silence"
            )
        if self.suspect_floor_ms > self.suspect_ceiling_ms:
            yield "suspect_floor_ms must not be above suspect_ceiling_ms"
        slowest_ms = self.slowest_commit_ms
        if slowest_ms < self.stalled_after_ms // 2:
            yield (
                f"lease_ms={self.lease_ms} leaves {slowest_ms} ms for a commit that counts; raise it above "
                f"(1+drift)(probe_every_ms + stalled_after_ms) + guard_margin_ms"
            )

    @property
    def slowest_commit_ms(self) -> int:
        """r in (1+ρ)(h + 2r) < L − G: a healthy primary never fences itself."""
        budget_ms = (self.lease_ms - self.guard_margin_ms) * 1000 // (1000 + self.drift_permille)
        return (budget_ms - self.probe_every_ms) // 2


FAST = Profile("fast", 50, 200, 300, 600, 100, 20, 3_000, 250, 800, 3_000, 1_000, 3_000, 2_000)
DEFAULT = Profile("default", 100, 500, 600, 1_000, 200, 50, 5_000, 500, 1_200, 5_000, 2_000, 5_000, 3_000)
PATIENT = Profile(
    "patient", 250, 1_000, 2_000, 5_000, 500, 200, 15_000, 1_000, 5_000, 15_000, 10_000, 15_000, 10_000
)
PROFILES: Mapping[str, Profile] = MappingProxyType({p.name: p for p in (FAST, DEFAULT, PATIENT)})
