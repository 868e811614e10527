"""Where the milliseconds of an outage went, by step.

Pure. The outage itself is the client's alone, from one acknowledgement to the next; the incident's steps
(`primacy history --json`) only divide it. What a step began before the outage or ended after it is not
counted, so the parts always add up to what the client saw.

    detect   until the primary is suspected; at a switchover until it is told to stop
    confirm  until its epoch is over (SEALING)
    seal     until a candidate is chosen: at a switchover the clean stop is in it
    promote  until the candidate is the primary of the record
    quorum   until its first probe was acknowledged through a quorum
    dns      until the new address was read back from every name server
    client   until the client, which resolves and connects anew, is acknowledged
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PARTS = ("detect", "confirm", "seal", "promote", "quorum", "dns", "client")

# The step whose moment ends the part; of several with this name the last one counts, but for the first two.
_ENDED_BY = {
    "detect": ("suspected", "sealing"),
    "confirm": ("sealing",),
    "seal": ("promoting",),
    "promote": ("promoted",),
    "quorum": ("serving",),
    "dns": ("names",),
}


def moments_us(incidents: Iterable[Mapping[str, Any]], wall_ahead_us: int) -> list[tuple[str, int]]:
    """(step, CLOCK_MONOTONIC in µs) of these incidents, in order."""
    return sorted(
        (
            (str(step["name"]), int(step["wall_ms"]) * 1000 - wall_ahead_us)
            for incident in incidents
            for step in incident["steps"]
        ),
        key=lambda pair: pair[1],
    )


def parts_ms(moments: Sequence[tuple[str, int]], from_us: int, to_us: int) -> dict[str, float]:
    """What each part took of the outage. A step that was not told counts as nothing."""
    found: dict[str, float] = {}
    reached_us = from_us
    for part in PARTS:
        ended_us = to_us if part == "client" else _end_of(part, moments, reached_us)
        ended_us = min(max(ended_us, reached_us), to_us)
        found[part] = (ended_us - reached_us) / 1000
        reached_us = ended_us
    return found


def _end_of(part: str, moments: Sequence[tuple[str, int]], otherwise_us: int) -> int:
    for name in _ENDED_BY[part]:
        at = [at_us for step, at_us in moments if step == name]
        if at:
            return at[0] if part in ("detect", "confirm") else at[-1]
    return otherwise_us
