"""The page of a soak: `python -m tests.soak.page SOAK.json > docs/evidence/soak.md`, from what `make soak` wrote."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.soak.totals import TOGETHER

_COLUMNS = (
    "fault",
    "alone",
    "with others",
    "median",
    "maximum",
    "lost rows",
    "second writers",
    "late",
    "wrong",
)


def page(soak: Mapping[str, Any], name: str) -> str:
    """`name`: of the file beside the page; empty where there is none."""
    lines = soak["lines"]
    every = lines.values()
    lost = sum(line["lost_rows"] for line in every) + soak["lost_later"]
    told = [
        "# Two hours and more of faults",
        "",
        f"{f'Made by `python -m tests.soak.page` from [{name}]({name}), which `make soak` wrote. ' if name else ''}"
        "Times are the outages that the reference client saw, in ms, of faults that were alone.",
        "",
        f"Began {soak['began']}, commit {soak['commit']}, seed {soak['seed']}: {soak['rounds']} rounds in "
        f"{soak['took_s'] / 3600:.2f} h on {soak['fleets']} fleets; {soak['acknowledged']} writes acknowledged, {lost} "
        f"lost, {sum(line['second_writers'] for line in every)} by a second writer; "
        f"{sum(line['wrong'] for line in every)} rounds wrong, {sum(line['late'] for line in every)} late; "
        f"{soak['beyond_due']} of those with several faults beyond what was due; {soak['no_quorum_s']:.0f} s without a "
        f"quorum, by what was done.{' ' + soak['ended'] if soak['ended'] else ''}",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"| --- |{' ---: |' * (len(_COLUMNS) - 1)}",
        *(
            _row(fault, line)
            for fault, line in sorted(lines.items(), key=lambda one: (one[0] == TOGETHER, one[0]))
        ),
    ]
    sums = {key: sum(line[key] for line in every) for key in ("second_writers", "late", "wrong")}
    at_once = lines.get(TOGETHER, {}).get("count", 0)
    counted = {"count": soak["rounds"], "together_count": at_once, "median_ms": None, "max_ms": None}
    told.append(_row("all rounds", {**counted, "lost_rows": lost, **sums}))
    if soak["remarks"]:
        told += ["", *(f"- {remark}" for remark in soak["remarks"])]
    return "\n".join([*told, ""])


def _row(fault: str, line: Mapping[str, Any]) -> str:
    cells = [line[key] for key in ("count", "together_count", "median_ms", "max_ms")]
    cells += [line[key] for key in ("lost_rows", "second_writers", "late", "wrong")]
    return f"| {fault} | {' | '.join('' if cell is None else f'{cell:.0f}' for cell in cells)} |"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    print(page(json.loads(file.read_text()), file.name), end="")
