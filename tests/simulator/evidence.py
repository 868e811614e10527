"""`python -m tests.simulator.evidence [--check]`: docs/evidence/simulator.md, from the soaks kept beside it.

Each `*-soak-sim.json` was written by `make soak-sim ARGS="--json …"`. What violations taught is kept by hand in
`violations.toml`; so is the commit of the last change of a safety rule, from which seeds are counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence"
PAGE = EVIDENCE / "simulator.md"
TAUGHT = EVIDENCE / "violations.toml"

_HEAD = """\
# What the simulator lived through

Written by `python -m tests.simulator.evidence` from the soaks in this folder (`make soak-sim`). A seed is a run: a
fleet, an experiment and rounds of faults, each of which ends whole and acknowledging writes, or in the exception that
I5 names. A failover counts only if a client was acknowledged before and after it, nobody had asked for it, and the
cluster became whole.
"""


def text(soaks: Sequence[tuple[str, Mapping[str, Any]]], taught: Mapping[str, Any]) -> str:
    return "\n".join(
        (
            _HEAD,
            *_runs(soaks),
            "",
            *_since(soaks, taught),
            "",
            "## Faults by kind\n",
            *_faults(soaks),
            "",
            "## Violations, and what each taught\n",
            *_lessons(taught),
            "",
        )
    )


def _runs(soaks: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    yield "| soak | began | commit | seeds | from | failovers | counted | faults | virtual hours | violations |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, soak in soaks:
        counts = soak["counts"]
        yield (
            f"| [{name}]({name}) | {soak['began']} | {soak['commit']} | {counts.get('seeds', 0)} "
            f"| {soak['first_seed']} | {counts.get('failovers', 0)} | {counts.get('failovers counted', 0)} "
            f"| {counts.get('faults', 0)} | {counts.get('virtual seconds', 0) // 3600} | {len(soak['violations'])} |"
        )


def _since(soaks: Sequence[tuple[str, Mapping[str, Any]]], taught: Mapping[str, Any]) -> Iterator[str]:
    change = taught["last_safety_change"]
    after = [soak for _, soak in soaks if soak["began"] >= change["at"]]
    seeds = sum(soak["counts"].get("seeds", 0) for soak in after)
    violations = sum(len(soak["violations"]) for soak in after)
    yield (
        f"Since the last change of a safety rule ({change['what']}, {change['at']}): {seeds} seeds, "
        f"{violations} violations."
    )
    found = taught.get("last_violation_elsewhere", {"at": "", "what": ""})
    clean = 0
    for _, soak in reversed(soaks):
        if soak["violations"] or soak["began"] < found["at"]:
            break
        clean += soak["counts"].get("seeds", 0)
    said = f" (the last violation that no soak told: {found['what']}, {found['at']})" if found["at"] else ""
    yield f"Clean in a row, counted back from the last soak: {clean} seeds{said}."


def _faults(soaks: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    totals: Counter[str] = Counter()
    for _, soak in soaks:
        totals.update({what: n for what, n in soak["counts"].items() if what.startswith("fault ")})
    yield "| fault | times |"
    yield "| --- | ---: |"
    for what, times in sorted(totals.items()):
        yield f"| {what.removeprefix('fault ')} | {times} |"


def _lessons(taught: Mapping[str, Any]) -> Iterator[str]:
    yield "| seed | what was said | what it was | what it taught |"
    yield "| --- | --- | --- | --- |"
    for one in taught["violation"]:
        yield f"| {one['seed']} | {one['said']} | {one['in']} | {one['taught']} |"


def page() -> str:
    soaks = [(path.name, json.loads(path.read_text())) for path in sorted(EVIDENCE.glob("*-soak-sim.json"))]
    return text(sorted(soaks, key=lambda one: one[1]["began"]), tomllib.loads(TAUGHT.read_text()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator.evidence", description=__doc__)
    parser.add_argument("--check", action="store_true", help="say whether the page is what the soaks say")
    if parser.parse_args().check:
        same = PAGE.exists() and PAGE.read_text() == page()
        print("as it should be" if same else "docs/evidence/simulator.md is not what the soaks say")
        return 0 if same else 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
