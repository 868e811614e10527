"""Some minutes under one profile and one condition in which nothing was broken, and what was seen of it.

Plain data: what is kept as evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Spell:
    profile: str
    condition: str
    seconds: float
    primary: str
    false_failovers: int = 0
    causes: tuple[str, ...] = ()
    """Of the false failovers: how many seconds into the spell, and why."""
    suspicions: dict[str, int] = field(default_factory=dict)
    """How many by what came of them (`deploy.bench.suspicions.Outcome`)."""
    longest_suspected_ms: int = 0
    """The longest silence with which a suspicion began."""
    beat_period_ms: float | None = None
    """Median time between two beats of the primary, as they reached one control node."""
    silence_at_a_node_ms: float = 0.0
    """The longest time in which some control node got no beat of the primary."""
    silence_everywhere_ms: float = 0.0
    """The longest time in which none of them did."""
    client_gap_ms: float = 0.0
    """The longest time between two acknowledged rows of the client."""
    acknowledged: int = 0
    rules: int = 0
    """How often the rule that commits wait for was changed, as far as it was seen."""
    leaders: int = 0
    """How often another control node took over."""
    diagnoses: tuple[str, ...] = ()
    """What else than a healthy cluster was seen."""
    disk_waits_percent: float | None = None
    """How much of the time somebody on this machine waited for a disk (PSI); None: the kernel does not say."""
    load_average: float = 0.0
    """At its end, over a minute."""
    failed: str = ""
