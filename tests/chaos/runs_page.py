"""Runs of `make chaos` side by side: `python -m tests.chaos.runs_page RUN.json ... > docs/evidence/chaos.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Run = Mapping[str, Any]


def page(runs: Sequence[Run], machine: str) -> str:
    """Of whole runs, as `make chaos ARGS="--json RUN.json"` wrote them."""
    rows = {name: [_row(run, name) for run in runs] for name in _names(runs)}
    lines = [
        "# Whole runs of `make chaos`",
        "",
        f"Made by `python -m tests.chaos.runs_page` from the files of {len(runs)} runs. {machine} The outage is what the",
        "reference client saw through DNS, in ms, for each run; what a fault must do and may cost: [chaos.md](../chaos.md).",
        "",
        *(_line_of_run(number, run) for number, run in enumerate(runs, 1)),
        "",
        "| fault | outage, ms | lost | second writers | whole again after, s | verdicts |",
        "| --- | --- | ---: | ---: | --- | --- |",
    ]
    return "\n".join([*lines, *(_line(name, found) for name, found in rows.items()), ""])


def _names(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(row["name"] for run in runs for row in run["rows"]))


def _row(run: Run, name: str) -> Mapping[str, Any] | None:
    return next((row for row in run["rows"] if row["name"] == name), None)


def _line_of_run(number: int, run: Run) -> str:
    good = sum(_verdict(row) == "good" for row in run["rows"])
    return f"- run {number}: commit {run['commit']}, seed {run['seed']}: {good} of {len(run['rows'])} as they must be"


def _line(name: str, rows: Sequence[Mapping[str, Any] | None]) -> str:
    there = [row for row in rows if row is not None]
    cells = (
        name,
        ", ".join("-" if row is None else _figure(row["outage_dns_ms"], 0) for row in rows),
        str(sum(row["lost_count"] for row in there)),
        str(sum(row["second_writer_count"] for row in there)),
        ", ".join("-" if row is None else _figure(row["whole_after_s"], 1) for row in rows),
        ", ".join("-" if row is None else _verdict(row) for row in rows),
    )
    return f"| {' | '.join(cells)} |"


def _figure(value: float | None, places: int) -> str:
    return "never" if value is None else f"{value:.{places}f}"


def _verdict(row: Mapping[str, Any]) -> str:
    said = "; ".join((*row["complaints"], *row["late"]))
    return f"{'WRONG' if row['complaints'] else 'late'}: {said}" if said else "good"


def main(words: list[str]) -> int:
    if not words:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    runs = [json.loads(Path(word).read_text()) for word in words]
    print(page(runs, "Two shared cores."), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
