"""Sums up what a bench of detection found, by profile.

Pure. A failed run or spell counts: as failed, and with whatever was measured of it.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deploy.bench.rounds import Run
from deploy.bench.suspicions import Outcome
from deploy.detection.spell import Spell


@dataclass(frozen=True, slots=True)
class Detected:
    """Of one kind of fault under one profile; in ms since the fault. None: nothing of that kind was measured."""

    profile: str
    kind: str
    run_count: int
    failed_count: int
    suspected_median_ms: float | None
    left_median_ms: float | None
    """Until the record said SEALING: nothing is granted to the old primary any more."""
    left_maximum_ms: float | None
    outage_median_ms: float | None
    outage_maximum_ms: float | None


def detected(profile: str, kind: str, runs: Iterable[Run]) -> Detected | None:
    """None where no such run took place."""
    mine = [run for run in runs if (run.profile, run.kind) == (profile, kind)]
    if not mine:
        return None
    suspected = [ms for run in mine for ms in [_first(run, "suspected")] if ms is not None]
    left = [run.detected_after_ms for run in mine if run.detected_after_ms is not None]
    outages = [run.outage_ms for run in mine if run.outage_ms is not None]
    return Detected(
        profile,
        kind,
        len(mine),
        sum(bool(run.failed) for run in mine),
        _median(suspected),
        _median(left),
        max(left, default=None),
        _median(outages),
        max(outages, default=None),
    )


@dataclass(frozen=True, slots=True)
class Alarms:
    """Of one condition under one profile, over all its spells."""

    profile: str
    condition: str
    minutes: float
    failed_count: int
    false_failovers: int
    causes: tuple[str, ...]
    suspicions: int
    """Those that came to nothing: a false failover is not counted again."""
    suspicions_by_outcome: tuple[tuple[str, int], ...]
    silence_at_a_node_ms: float
    silence_everywhere_ms: float
    client_gap_ms: float
    rules: int
    leaders: int
    disk_waits_percent: float | None


def alarms(profile: str, condition: str, spells: Iterable[Spell]) -> Alarms | None:
    """None where no such spell took place."""
    mine = [one for one in spells if (one.profile, one.condition) == (profile, condition)]
    if not mine:
        return None
    outcomes: Counter[str] = Counter()
    for one in mine:
        outcomes.update(one.suspicions)
    del outcomes[Outcome.FAILOVER]
    return Alarms(
        profile,
        condition,
        sum(one.seconds for one in mine) / 60,
        sum(bool(one.failed) for one in mine),
        sum(one.false_failovers for one in mine),
        tuple(cause for one in mine for cause in one.causes),
        outcomes.total(),
        tuple(sorted(outcomes.items())),
        max(one.silence_at_a_node_ms for one in mine),
        max(one.silence_everywhere_ms for one in mine),
        max(one.client_gap_ms for one in mine),
        sum(one.rules for one in mine),
        sum(one.leaders for one in mine),
        max((one.disk_waits_percent for one in mine if one.disk_waits_percent is not None), default=None),
    )


def _first(run: Run, step: str) -> float | None:
    return next((ms for name, ms in run.steps if name == step), None)


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
