"""Runs of `make chaos` side by side, kept as evidence:

python -m tests.chaos.runs_page RUN.json ... --into docs/evidence    keeps them there without their texts, and writes chaos.md
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.canary import WITHIN_MS

Run = Mapping[str, Any]
PAGE = "chaos.md"
_KEPT = (
    "name",
    "outage_dns_ms",
    "outage_multihost_ms",
    "lost_count",
    "second_writer_count",
    "whole_after_s",
    "complaints",
    "late",
    "took_s",
    "load_average",
)


def kept(run: Run) -> dict[str, Any]:
    """Without what was said, which is long: figures and verdicts."""
    return {**run, "rows": [_kept_row(row) for row in run["rows"]]}


def _kept_row(row: Mapping[str, Any]) -> dict[str, Any]:
    seen = row["observed"]
    hearing = seen["hearing"] or {}
    return {
        **{key: row[key] for key in _KEPT},
        "acknowledged_count": hearing.get("acknowledged_count", 0),
        "in_doubt_visible_count": hearing.get("in_doubt_visible_count", 0),
        "canary": seen["canary"],
    }


def page(runs: Mapping[str, Run], machine: str) -> str:
    """Of whole runs that were kept, by the name of the file."""
    rows = {name: [_row(run, name) for run in runs.values()] for name in _names(runs.values())}
    lines = [
        "# Whole runs of `make chaos`",
        "",
        "Made by `python -m tests.chaos.runs_page` from "
        f"{', '.join(f'[{name}]({name})' for name in runs)}. {machine} The outage is what the reference client saw "
        "through DNS, in ms, for each run; what a fault must do and may cost: [chaos.md](../chaos.md).",
        "",
        *(_line_of_run(number, run) for number, run in enumerate(runs.values(), 1)),
        "",
        *_of_all(runs.values()),
        "",
        "| fault | outage, ms | lost | second writers | whole again after, s | verdicts |",
        "| --- | --- | ---: | ---: | --- | --- |",
    ]
    return "\n".join([*lines, *(_line(name, found) for name, found in rows.items()), ""])


def _names(runs: Sequence[Run] | Any) -> list[str]:
    return list(dict.fromkeys(row["name"] for run in runs for row in run["rows"]))


def _row(run: Run, name: str) -> Mapping[str, Any] | None:
    return next((row for row in run["rows"] if row["name"] == name), None)


def _line_of_run(number: int, run: Run) -> str:
    good = sum(_verdict(row) == "good" for row in run["rows"])
    return (
        f"- run {number}: began {run['began']}, commit {run['commit']}, seed {run['seed']}: {good} of "
        f"{len(run['rows'])} as they must be, in {run['took_s'] / 60:.1f} minutes"
    )


def _of_all(runs: Sequence[Run] | Any) -> list[str]:
    """What no line of the table has."""
    rows = [row for run in runs for row in run["rows"]]
    acknowledged = sum(row["acknowledged_count"] for row in rows)
    visible = sum(row["in_doubt_visible_count"] for row in rows)
    apart = sorted(
        abs(row["canary"]["outage_ms"] - row["outage_dns_ms"])
        for row in rows
        if row["canary"] is not None and not row["canary"]["at_least"] and row["outage_dns_ms"] is not None
    )
    lines = [f"{acknowledged} rows were acknowledged; {visible} are there that were not, which is allowed."]
    if apart:
        close = sum(ms <= WITHIN_MS for ms in apart)
        lines += [
            f"The canary told {len(apart)} outages from beginning to end: {close} within {WITHIN_MS} ms of the one client "
            f"beside it here (median {statistics.median(apart):.0f} ms, {apart[-1]:.0f} at the most). Clients of one kind are "
            "that far apart themselves; the verdict compares it with all of them "
            "([canary.md](../canary.md))."
        ]
    return lines


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


def names_of(runs: Sequence[Run]) -> list[str]:
    """Of the files that are kept: by day, commit and turn."""
    return [
        f"{run['began'][:10]}-{run['commit'][:7]}-{chr(ord('a') + turn)}-chaos.json"
        for turn, run in enumerate(runs)
    ]


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.runs_page", description=__doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, help='as `make chaos ARGS="--json RUN.json"` wrote them'
    )
    parser.add_argument("--into", type=Path, required=True, help="the folder of the evidence")
    told = parser.parse_args(words)
    runs = [kept(json.loads(file.read_text())) for file in told.runs]
    for name, run in zip(names_of(runs), runs, strict=True):
        (told.into / name).write_text(json.dumps(run, indent=1) + "\n")
    (told.into / PAGE).write_text(page(dict(zip(names_of(runs), runs, strict=True)), MACHINE))
    return 0


MACHINE = "Two shared cores."

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
