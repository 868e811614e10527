"""The table of a soak, as text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from tests.soak.totals import TOGETHER, Line, Totals

COLUMNS = (
    "fault", "alone", "with others", "median", "maximum", "lost rows", "second writers", "late", "wrong",
)  # fmt: skip


def table_of(totals: Totals) -> Table:
    table = Table(title=headline(totals))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "fault" else "right")
    for name, line in _lines(totals):
        style = "red" if line.wrong else "yellow" if line.late else ""
        table.add_row(*cells(name, line), style=style)
    table.add_section()
    table.add_row(*cells("all rounds", _sum(totals)), style="bold")
    return table


def headline(totals: Totals) -> str:
    return (
        f"{totals.rounds} rounds in {totals.took_s / 3600:.1f} h on {totals.fleets} fleets, seed {totals.seed}, "
        f"commit {totals.commit or 'unknown'}: {totals.acknowledged} writes acknowledged, "
        f"{totals.wrong} wrong, {totals.late} late, {totals.lost_later} rows lost later, "
        f"{totals.beyond_due} with several faults beyond what was due, "
        f"{totals.no_quorum_s:.0f} s without a quorum" + (f"; {totals.ended}" if totals.ended else "")
    )


def cells(name: str, line: Line) -> tuple[str, ...]:
    return (
        name,
        str(line.count),
        str(line.together_count),
        _ms(line.median_ms),
        _ms(line.max_ms),
        str(line.lost_rows),
        str(line.second_writers),
        str(line.late),
        str(line.wrong),
    )


def _lines(totals: Totals) -> Iterator[tuple[str, Line]]:
    """By name; those with several faults last."""
    alone = sorted((name, line) for name, line in totals.lines.items() if name != TOGETHER)
    yield from ((name, line) for name, line in alone)
    if TOGETHER in totals.lines:
        yield TOGETHER, totals.lines[TOGETHER]


def _sum(totals: Totals) -> Line:
    every = totals.lines.values()
    return Line(
        count=totals.rounds,
        together_count=totals.lines[TOGETHER].count if TOGETHER in totals.lines else 0,
        outages_ms=[ms for line in every for ms in line.outages_ms],
        lost_rows=sum(line.lost_rows for line in every) + totals.lost_later,
        second_writers=sum(line.second_writers for line in every),
        late=totals.late,
        wrong=totals.wrong,
    )


def _ms(value: int | None) -> str:
    return "" if value is None else f"{value} ms"
