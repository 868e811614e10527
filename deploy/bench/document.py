"""`python -m deploy.bench.document [--check]`: docs/performance.md, from the newest evidence of `make bench`.

Pure, but for the files. No figure in that document is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.bench.breakdown import PARTS

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE = ROOT / "docs" / "evidence"
DOCUMENT = ROOT / "docs" / "performance.md"

_HEAD = """\
# How fast

Written by `python -m deploy.bench.document` from [{name}](evidence/{name}), which `make bench` made. What a fault, an \
outage, the floor and a false alarm are: one writer, 100 inserts a second, through DNS, that imports nothing of ours; \
the outage is the longest gap between two acknowledged inserts around the fault; the floor is the same on plain \
PostgreSQL, by hand and without detection, in the same run; a lost host's link goes down before anything on it is \
killed.

{began}, {cores} cores, kernel {kernel}, {postgres}, etcd {etcd}, profile `{profile}`, load average {load} before. A \
shared machine: compare the ratios, not the milliseconds.
"""


def text(name: str, found: Mapping[str, Any]) -> str:
    setting, figures = found["setting"], found["figures"]
    profiles = sorted({profile for one in figures for profile in one["profiles"]})
    parts = [
        _HEAD.format(
            name=name,
            began=setting["began"],
            cores=setting["cores"],
            kernel=setting["kernel"],
            postgres=_postgres(str(setting["postgres"])),
            etcd=setting["etcd"],
            profile=", ".join(profiles),
            load=setting["load_average"],
        ),
        "## Outages\n",
        *_outages(figures),
        "\n## Where it went\n\nMedian of each step, ms.\n",
        *_breakdown(figures),
        "",
        *_floor(found["floor_ms"]),
        "\n## No false alarm\n",
        *_load(found["under_load"], found["detected_after_load"]),
        "\n## Nothing lost\n",
        f"{found['acknowledged']} acknowledged rows, {len(found['lost'])} lost, "
        f"{len(found['second_writes'])} acknowledged by a second writer."
        + "".join(f"\n\nFAILED: {complaint}" for complaint in found["complaints"]),
        "",
    ]
    return "\n".join(parts)


def _outages(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        "| fault | runs | failed | median, ms | maximum, ms | floor, ms | ratio | aim | met |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for one in figures:
        rows.append(
            f"| {one['labels']} | {one['run_count']} | {one['failed_count']} | {_ms(one['median_ms'])} | "
            f"{_ms(one['maximum_ms'])} | {_ms(one['floor_ms'])} | {one['ratio']:.1f} | {one['aim']} | "
            f"{'yes' if one['aim_met'] else 'no'} |"
        )
    ends = [one["ends_sent"] for one in figures if one["ends_sent"] is not None]
    return [*rows, "", f"FIN and RST that left the lost hosts: {sum(ends) if ends else 'not counted'}."]


def _breakdown(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [f"| fault | {' | '.join(PARTS)} |", "| --- |" + " ---: |" * len(PARTS)]
    for one in figures:
        cells = " | ".join(_ms(one["parts_ms"].get(part)) for part in PARTS)
        rows.append(f"| {one['labels']} | {cells} |")
    return rows


def _floor(floor_ms: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    lines = []
    for kind, runs in floor_ms.items():
        totals = [run["total"] for run in runs]
        lines.append(
            f"Floor, {kind}: median {statistics.median(totals):.0f} ms, "
            f"{min(totals):.0f} to {max(totals):.0f} ms in {len(totals)} runs.\n"
        )
    return lines


def _load(found: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["Not measured in this run."]
    alarm = "no false alarm" if found["epochs"][0] == found["epochs"][1] else "THE EPOCH CHANGED"
    lines = [
        f"{found['seconds']:.0f} s with {found['busy_loops']} busy loops (load average {found['load_average']}): {alarm}; "
        f"{found['suspicions']} suspicions that were not confirmed; the client's longest gap "
        f"{found['longest_gap_ms']:.0f} ms."
    ]
    if after is not None:
        lines.append(
            f"\nA host lost right afterwards, same profile: detected after {_ms(after['detected_after_ms'])} ms, "
            f"outage {_ms(after['outage_ms'])} ms."
        )
    return lines


def _postgres(bin_directory: str) -> str:
    version = next((word for word in Path(bin_directory).parts if word.isdigit()), "")
    return f"PostgreSQL {version}".strip()


def _ms(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"


def newest(folder: Path = EVIDENCE) -> Path | None:
    """By when it began: two of one day are told apart by nothing in their names."""
    return max(folder.glob("*-bench.json"), key=_began, default=None)


def _began(path: Path) -> str:
    return str(json.loads(path.read_text())["setting"]["began"])


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.document", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    chosen = parser.parse_args(words)
    evidence = newest()
    if evidence is None:
        print(
            f"there is no evidence in {EVIDENCE}: make bench ARGS='--json docs/evidence/<date>-<commit>-bench.json'"
        )
        return 1
    wanted = text(evidence.name, json.loads(evidence.read_text()))
    if chosen.check:
        return 0 if DOCUMENT.exists() and DOCUMENT.read_text() == wanted else 1
    DOCUMENT.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
