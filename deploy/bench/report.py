"""The figures of a bench: as a table for people, as JSON for evidence.

Pure, but for the terminal. Every figure is quoted with its ratio to the floor of the same run.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.bench.breakdown import PARTS
from deploy.bench.floor import Floor
from deploy.bench.rounds import HOST_LOST, KINDS, POSTMASTER_KILLED, SWITCHOVER, Run
from deploy.bench.under_load import UnderLoad

RATIO_AT_MOST = 4.0
"""Aim for a killed postmaster and for a switchover, with the default profile."""
HOST_LOST_AT_MOST_MS = 1_800.0
_FLOOR_OF = {POSTMASTER_KILLED: "kill", HOST_LOST: "kill", SWITCHOVER: "switchover"}


@dataclass(slots=True)
class Report:
    seed: int
    setting: dict[str, Any]
    floor: Floor
    runs: list[Run]
    under_load: UnderLoad | None = None
    detected_after_load: Run | None = None
    acknowledged_count: int = 0
    lost: tuple[int, ...] = ()
    second_writes: tuple[str, ...] = ()
    complaints: list[str] = field(default_factory=list)
    """Why the bench ends non-zero."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one kind of fault."""

    kind: str
    labels: str
    run_count: int
    failed_count: int
    median_ms: float | None
    maximum_ms: float | None
    floor_ms: float
    ratio: float | None
    parts_ms: dict[str, float]
    ends_sent: int | None
    profiles: tuple[str, ...]
    aim: str
    aim_met: bool


def figures_of(kind: str, runs: Sequence[Run], floor: Floor) -> Figures:
    """Failed runs count: as failed, and where an outage was measured, in the figures too."""
    mine = [run for run in runs if run.kind == kind]
    outages = [run.outage_ms for run in mine if run.outage_ms is not None]
    median_ms = statistics.median(outages) if outages else None
    floor_ms = floor.median_ms(_FLOOR_OF[kind])
    ratio = None if median_ms is None else median_ms / floor_ms
    failed_count = sum(bool(run.failed) for run in mine)
    if kind == HOST_LOST:
        aim = f"{HOST_LOST_AT_MOST_MS:.0f} ms"
        met = median_ms is not None and median_ms <= HOST_LOST_AT_MOST_MS
    else:
        aim = f"{RATIO_AT_MOST:.0f} x floor"
        met = ratio is not None and ratio <= RATIO_AT_MOST
    measured = [run for run in mine if run.parts_ms]
    parts = (
        {part: statistics.median(run.parts_ms[part] for run in measured) for part in PARTS}
        if measured
        else {}
    )
    ends = [run.ends_sent for run in mine if run.ends_sent is not None]
    return Figures(
        kind,
        ", ".join(sorted({run.label for run in mine})) or kind,
        len(mine),
        failed_count,
        median_ms,
        max(outages, default=None),
        floor_ms,
        ratio,
        parts,
        sum(ends) if ends else None,
        tuple(sorted({run.profile for run in mine})),
        aim,
        met and not failed_count,
    )


def as_json(report: Report) -> dict[str, Any]:
    return {
        "schema": 1,
        "seed": report.seed,
        "setting": report.setting,
        "floor_ms": {kind: [dict(run) for run in runs] for kind, runs in report.floor.runs.items()},
        "figures": [asdict(figures_of(kind, report.runs, report.floor)) for kind in KINDS],
        "runs": [asdict(run) for run in report.runs],
        "under_load": None if report.under_load is None else asdict(report.under_load),
        "detected_after_load": None
        if report.detected_after_load is None
        else asdict(report.detected_after_load),
        "acknowledged": report.acknowledged_count,
        "lost": list(report.lost),
        "second_writes": list(report.second_writes),
        "complaints": report.complaints,
    }


def show(report: Report, console: Console) -> None:
    figures = [figures_of(kind, report.runs, report.floor) for kind in KINDS]
    console.print(_outages(figures))
    console.print(_breakdown(figures))
    for line in report.floor.lines():
        console.print(line)
    profiles = sorted({profile for one in figures for profile in one.profiles})
    console.print(f"profile that the daemons loaded: {', '.join(profiles) or 'unknown'}")
    for one in figures:
        if one.kind == HOST_LOST:
            counted = "not counted" if one.ends_sent is None else str(one.ends_sent)
            console.print(f"FIN and RST that left the lost hosts: {counted}")
    if report.under_load is not None:
        _show_load(report.under_load, report.detected_after_load, console)
    console.print(
        f"acknowledged rows {report.acknowledged_count}, lost {len(report.lost)}, "
        f"second writers {len(report.second_writes)}"
    )
    for complaint in report.complaints:
        console.print(f"[bold red]FAILED:[/] {complaint}", markup=True)


def _outages(figures: Sequence[Figures]) -> Table:
    table = Table(title="Outage that the reference client saw")
    for column in ("fault", "runs", "failed", "median", "maximum", "floor", "ratio", "aim", "met"):
        table.add_column(column, justify="left" if column in ("fault", "aim") else "right")
    for one in figures:
        table.add_row(
            one.labels, str(one.run_count), str(one.failed_count), _ms(one.median_ms), _ms(one.maximum_ms),
            _ms(one.floor_ms), "" if one.ratio is None else f"{one.ratio:.1f}", one.aim,
            "yes" if one.aim_met else "no",
        )  # fmt: skip
    return table


def _breakdown(figures: Sequence[Figures]) -> Table:
    table = Table(title="Where it went (median of each step, ms)")
    table.add_column("fault")
    for part in PARTS:
        table.add_column(part, justify="right")
    for one in figures:
        table.add_row(one.labels, *(f"{one.parts_ms[part]:.0f}" if one.parts_ms else "" for part in PARTS))
    return table


def _show_load(found: UnderLoad, detected: Run | None, console: Console) -> None:
    alarm = found.false_alarm or "no false alarm"
    console.print(
        f"{found.seconds:.0f} s under {found.busy_loops} busy loops, profile {found.profile}: {alarm}; "
        f"{found.suspicions} suspicions not confirmed; "
        f"the client's longest gap {found.longest_gap_ms:.0f} ms; "
        f"load average {found.load_average}"
    )
    if found.diagnoses:
        console.print(f"seen under load besides Healthy: {', '.join(found.diagnoses)}")
    if detected is not None:
        after = detected.detected_after_ms
        console.print(
            f"{detected.label} afterwards: detected after {_ms(after)}, outage {_ms(detected.outage_ms)}"
        )


def _ms(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f} ms"
