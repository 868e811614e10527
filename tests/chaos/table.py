"""The table of a run, as text and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from tests.chaos.judging import Row

COLUMNS = ("fault", "through DNS", "multi-host", "lost", "second writers", "whole again", "verdict")


def table_of(rows: Sequence[Row]) -> Table:
    """What was wrong stands below it (`complaints`)."""
    table = Table(title="What the witnesses saw")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("fault", "verdict") else "right")
    for row in rows:
        style = "" if row.passed else "red" if row.complaints else "yellow"
        table.add_row(*cells(row)[:-1], verdict(row), style=style)
    return table


def verdict(row: Row) -> str:
    return "good" if row.passed else "WRONG" if row.complaints else "late"


def complaints(rows: Iterable[Row]) -> list[str]:
    return [f"{verdict(row):<5}  {row.name}: {said}" for row in rows for said in (*row.complaints, *row.late)]


def markdown(rows: Iterable[Row]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", f"| --- |{' ---: |' * 5} --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(cells(row))} |" for row in rows), ""])


def _flashed(row: Row) -> tuple[str, ...]:
    """No complaint, and worth knowing."""
    hearing = row.observed.hearing
    rows = () if hearing is None else hearing.flashed
    return (f"shown by a dying server alone: {len(rows)} rows",) if rows else ()


def cells(row: Row) -> tuple[str, ...]:
    whole = "no" if row.whole_after_s is None else f"{row.whole_after_s:.1f} s"
    return (
        row.name,
        _ms(row.outage_dns_ms),
        _ms(row.outage_multihost_ms),
        str(row.lost_count),
        str(row.second_writer_count),
        whole,
        ": ".join(filter(None, (verdict(row), "; ".join((*row.complaints, *row.late, *_flashed(row)))))),
    )


def document(rows: Sequence[Row], *, seed: int, commit: str, began: str, took_s: float) -> dict[str, Any]:
    """`began`: UTC."""
    return {
        "schema": 2,
        "seed": seed,
        "commit": commit,
        "began": began,
        "took_s": round(took_s, 1),
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def _ms(value: float | None) -> str:
    return "no end" if value is None else f"{value:.0f} ms"
