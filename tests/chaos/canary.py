"""Primacy's own canary compared with the witness: what the incident says against what the client's journal has.

Pure. The client waits up to 200 ms for an address that is dead by then, and notices only afterwards that another
one serves: so its gap has a least length too, up to the beginning of its last attempt that failed. On a busy machine two
clients of one kind are let in up to 100 ms apart, for each has a process of its own and a backend to be forked: of
several on the way that the canary takes, one may be served already while another one waits. The canary must have
seen an outage within the least and the most of them, give or take the bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.bench.verdict import Journal, Outage, outage_around
from orchestrator.core.gaps import PERIOD_MS

WITHIN_MS = 50


@dataclass(frozen=True, slots=True)
class Said:
    """By an incident, of its outage."""

    outage_ms: int
    resolution_ms: int
    at_least: bool

    def __str__(self) -> str:
        return f"{'at least ' * self.at_least}{self.outage_ms} ms (± {self.resolution_ms})"


@dataclass(frozen=True, slots=True)
class Seen:
    """By clients: how long nobody could have been acknowledged, at the least and at the most."""

    least_ms: float
    most_ms: float

    def __str__(self) -> str:
        return f"{self.least_ms:.0f} to {self.most_ms:.0f} ms"


def newest_said(incidents: Iterable[Mapping[str, Any]], after_epoch: int) -> Said | None:
    """The longest that the canary told of the incidents after this epoch (`primacy history --json`)."""
    found = []
    for incident in incidents:
        if incident["epoch"] <= after_epoch:
            continue
        if incident["outage_by"] == "canary":
            found.append(Said(incident["outage_ms"], incident["uncertainty_ms"], incident["outage_at_least"]))
        elif incident["canary_part_ms"] is not None:
            found.append(Said(incident["canary_part_ms"], 0, at_least=True))
    return max(found, key=lambda said: said.outage_ms, default=None)


def bounds_ms(journal: Journal, outage: Outage) -> Seen:
    """ValueError for an outage without end."""
    if outage.to_us is None:
        raise ValueError("the outage never ended")
    failed_at_us = [
        *(connect.at_us for connect in journal.connects if connect.outcome != "ok"),
        *journal.failed_at_us,
    ]
    newest_us = max((at for at in failed_at_us if outage.from_us < at < outage.to_us), default=outage.from_us)
    return Seen((newest_us - outage.from_us) / 1000, (outage.to_us - outage.from_us) / 1000)


def bounds_of_all_ms(journals: Sequence[Journal], fault_at_us: int) -> Seen:
    """Of clients on the same way, the first of which has the shortest period: the outage begins with its own. Others
    count where their longest gap is of the same outage. ValueError where the first one's never ended."""
    first = outage_around(journals[0], fault_at_us)
    found = [bounds_ms(journals[0], first)]
    for journal in journals[1:]:
        try:
            other = outage_around(journal, fault_at_us)
            bounds = bounds_ms(journal, other)
        except ValueError:
            continue
        assert first.to_us is not None  # as `bounds_ms` says
        assert other.to_us is not None
        if other.from_us < first.to_us and first.from_us < other.to_us:
            later_ms = (other.from_us - first.from_us) / 1000
            found.append(Seen(max(0.0, bounds.least_ms + later_ms), bounds.most_ms + later_ms))
    return Seen(min(one.least_ms for one in found), max(one.most_ms for one in found))


def apart_ms(said: Said, seen: Seen) -> float:
    """By how much they contradict each other; 0 where they don't. Where the canary says that it was blind for longer
    than its period (its process did not run, on a busy machine), so much is no contradiction."""
    blind_ms = max(0, said.resolution_ms - PERIOD_MS)
    too_long_ms = said.outage_ms - seen.most_ms - blind_ms
    too_short_ms = 0.0 if said.at_least else seen.least_ms - said.outage_ms - blind_ms
    return max(0.0, too_long_ms, too_short_ms)
