"""How long a member was not heard: the arithmetic over the arrivals of its beats, at one control node or at all.

Pure. Moments are CLOCK_MONOTONIC in microseconds, in order.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

_GAPS_LOOKED_AT = 5
Arrivals = Mapping[str, Sequence[int]]
"""Of one sender, by the control node at which they arrived."""


def read_arrivals(lines: Iterable[str]) -> dict[str, list[int]]:
    """By sender's address, from a listener's journal. A half-written last line is left out."""
    found: dict[str, list[int]] = defaultdict(list)
    for line in lines:
        if line.endswith("\n"):
            at_us, _, address = line.strip().partition(" ")
            found[address].append(int(at_us))
    return found


def longest_silence_ms(at: Sequence[int], from_us: int, to_us: int) -> float:
    """From one arrival to the next; the beginning and the end of the time count as arrivals."""
    inside = [moment for moment in at if from_us <= moment <= to_us]
    return max(after - before for before, after in pairwise([from_us, *inside, to_us])) / 1000


def at_the_worst_node_ms(arrivals: Arrivals, from_us: int, to_us: int) -> float:
    return max(longest_silence_ms(at, from_us, to_us) for at in arrivals.values())


def at_every_node_ms(arrivals: Arrivals, from_us: int, to_us: int) -> float:
    """The longest time in which no control node at all heard it."""
    together = sorted(moment for at in arrivals.values() for moment in at)
    return longest_silence_ms(together, from_us, to_us)


def period_ms(at: Sequence[int], from_us: int, to_us: int) -> float | None:
    """The median time between two arrivals; None where fewer than two came."""
    inside = [moment for moment in at if from_us <= moment <= to_us]
    if len(inside) < 2:
        return None
    return statistics.median(after - before for before, after in pairwise(inside)) / 1000


def at_pace_since_us(at: Sequence[int], wanted_ms: float) -> int | None:
    """Since when the beats have come at this pace, by the newest five gaps; None: they do not. One that came at once, or
    was lost, does not hide it; the next profile is twice as far."""
    newest = at[-_GAPS_LOOKED_AT - 1 :]
    if len(newest) <= _GAPS_LOOKED_AT:
        return None
    fitting = [
        (before, after)
        for before, after in pairwise(newest)
        if 0.75 * wanted_ms <= (after - before) / 1000 <= 1.25 * wanted_ms
    ]
    return fitting[0][0] if 2 * len(fitting) > _GAPS_LOOKED_AT else None
