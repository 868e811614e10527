"""The figures of a bench: as a table for people, as JSON for evidence.

Pure, but for the terminal. Every figure is quoted with its ratio to the floor of the same run.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.bench.breakdown import PARTS
from deploy.bench.calm import interrupted
from deploy.bench.floor import Floor
from deploy.bench.kinds import HOST_LOST, KINDS, Kind
from deploy.bench.rounds import Run
from deploy.bench.under_load import UnderLoad


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
    kinds: tuple[Kind, ...] = KINDS
    """Those that were to be played."""


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
    control_ms: float | None = None
    """Where nothing must be noticed: the longest gap of the control periods."""
    reconnect_count: int | None = None
    interrupted: str = ""
    """What interrupted the client there."""
    another_count: int | None = None
    """Where one standby was behind: how often another one took over."""
    behind_count: int | None = None
    """And how often that one did, so after it had caught up."""


def figures_of(kind: Kind, runs: Sequence[Run], floor: Floor) -> Figures:
    """Failed runs count: as failed, and where an outage was measured, in the figures too."""
    mine = [run for run in runs if run.kind == kind.name]
    outages = [run.outage_ms for run in mine if run.outage_ms is not None]
    median_ms = statistics.median(outages) if outages else None
    floor_ms = floor.median_ms(kind.floor)
    failed_count = sum(bool(run.failed) for run in mine)
    calms = [run.calm for run in mine if run.calm is not None]
    what_interrupted = "" if kind.moves else interrupted(calms)
    measured = [run for run in mine if run.parts_ms]
    parts = (
        {part: statistics.median(run.parts_ms[part] for run in measured) for part in PARTS}
        if measured
        else {}
    )
    ends = [run.ends_sent for run in mine if run.ends_sent is not None]
    held = [run for run in mine if run.behind and run.next_primary]
    by_the_one_behind = sum(run.next_primary == run.behind for run in held)
    return Figures(
        kind.name,
        ", ".join(sorted({run.label for run in mine})) or kind.name,
        len(mine),
        failed_count,
        median_ms,
        max(outages, default=None),
        floor_ms,
        None if median_ms is None else median_ms / floor_ms,
        parts,
        sum(ends) if ends else None,
        tuple(sorted({run.profile for run in mine})),
        kind.aim.text,
        kind.aim.is_met(median_ms, floor_ms, what_interrupted) and not failed_count,
        max((calm.control_ms for calm in calms), default=None),
        sum(calm.reconnect_count + calm.after_reconnect_count for calm in calms) if calms else None,
        what_interrupted,
        len(held) - by_the_one_behind if held else None,
        by_the_one_behind if held else None,
    )


def as_json(report: Report) -> dict[str, Any]:
    return {
        "schema": 2,
        "seed": report.seed,
        "setting": report.setting,
        "floor_ms": {kind: [dict(run) for run in runs] for kind, runs in report.floor.runs.items()},
        "figures": [asdict(figures_of(kind, report.runs, report.floor)) for kind in report.kinds],
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
    figures = [figures_of(kind, report.runs, report.floor) for kind in report.kinds]
    console.print(_outages(figures))
    moved = [one for one in figures if one.parts_ms]
    if moved:
        console.print(_breakdown(moved))
    for line in report.floor.lines():
        console.print(line)
    profiles = sorted({profile for one in figures for profile in one.profiles})
    console.print(f"profile that the daemons loaded: {', '.join(profiles) or 'unknown'}")
    for one in figures:
        if one.kind == HOST_LOST.name:
            counted = "not counted" if one.ends_sent is None else str(one.ends_sent)
            console.print(f"FIN and RST that left the lost hosts: {counted}")
        if one.interrupted:
            console.print(f"{one.kind}: {one.interrupted}", markup=False)
        if one.another_count is not None:
            console.print(
                f"{one.kind}: {one.another_count} times another one than the standby that was behind took over, "
                f"{one.behind_count} times that one"
            )
    if report.under_load is not None:
        _show_load(report.under_load, report.detected_after_load, console)
    console.print(
        f"acknowledged rows {report.acknowledged_count}, lost {len(report.lost)}, "
        f"second writers {len(report.second_writes)}"
    )
    for complaint in report.complaints:
        console.print(f"[bold red]FAILED:[/] {escape(complaint)}", markup=True)


def _outages(figures: Sequence[Figures]) -> Table:
    table = Table(
        title="Outage that the reference client saw (no interruption: its longest gap, and that before)"
    )
    columns = ("fault", "runs", "failed", "median", "maximum", "before", "floor", "ratio", "aim", "met")
    for column in columns:
        table.add_column(column, justify="left" if column in ("fault", "aim") else "right")
    for one in figures:
        table.add_row(
            one.labels, str(one.run_count), str(one.failed_count), _ms(one.median_ms), _ms(one.maximum_ms),
            "" if one.control_ms is None else _ms(one.control_ms), _ms(one.floor_ms),
            "" if one.ratio is None else f"{one.ratio:.1f}", one.aim, "yes" if one.aim_met else "no",
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
