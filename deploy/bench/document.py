"""`python -m deploy.bench.document [--check]`: docs/performance.md, from the evidence of `make bench` and of
`make bench-scale`.

Pure, but for the files. No figure in that document is typed by hand. It shows the newest run of each circumstances
(members, data, PostgreSQL, …); an older one is left out once a newer one has all of its faults.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.bench.circumstances import circumstances_of
from deploy.bench.kinds import CANT_WRITE_AT_MOST_MS, HOST_LOST_AT_MOST_MS, RATIO_AT_MOST
from deploy.bench.page_of_run import section
from deploy.scale.chapter import SUFFIX, chapter

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE = ROOT / "docs" / "evidence"
DOCUMENT = ROOT / "docs" / "performance.md"

_HEAD = f"""\
# How fast

Written by `python -m deploy.bench.document` from the evidence that each section names, which `make bench` made: the \
newest run of each kind. What a fault, an outage, the floor and a false alarm are: one writer, 100 inserts a second, \
through DNS, that imports nothing of ours; the outage is the longest gap between two acknowledged inserts around the \
fault; the floor is the same on plain PostgreSQL, by hand and without detection, in the same run and under the same \
circumstances; a lost host's link goes down before anything on it is killed. Faults of disks are played on a fleet of \
their own, in whose members' folders other file systems are mounted, from files on the same disk. Since 2026-11-30 \
what earlier rounds left to write to the disk is written before each fault, and before each round of the floor.

Aims, for the median of a run with the default profile: postmaster killed and switchover, {RATIO_AT_MOST:g} times the \
floor; host lost or isolated, {HOST_LOST_AT_MOST_MS:.0f} ms; PostgreSQL frozen with its agent alive, or unable to \
write, {CANT_WRITE_AT_MOST_MS:.0f} ms; agent killed or frozen, leader killed, all control nodes and etcd down for \
longer than a lease: no interruption, which is no reconnect, and no gap longer than 1.5 times the longest of equally \
long control periods of the same run.

A shared machine: compare the ratios, not the milliseconds.
"""


def text(
    evidence: Mapping[str, Mapping[str, Any]], scale: Sequence[tuple[str, Mapping[str, Any]]] = ()
) -> str:
    """`evidence`: what each file holds, by its name; `scale`: that of many members, oldest first."""
    sections = [section(name, evidence[name]) for name in shown(evidence)]
    return "\n".join([_HEAD, *sections, *chapter(scale)])


def shown(evidence: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the files that are shown: plain circumstances first, of the same the newest first."""
    names = sorted(evidence, key=lambda name: (str(evidence[name]["setting"]["began"]), name), reverse=True)
    chosen: list[str] = []
    for name in names:
        under, kinds = circumstances_of(evidence[name]), _kinds(evidence[name])
        newer = [other for other in chosen if circumstances_of(evidence[other]) == under]
        if not any(kinds <= _kinds(evidence[other]) for other in newer):
            chosen.append(name)
    order = {name: place for place, name in enumerate(chosen)}
    return sorted(chosen, key=lambda name: (circumstances_of(evidence[name]).how_special, order[name]))


def _kinds(found: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(one["kind"] for one in found["figures"])


def read(folder: Path = EVIDENCE) -> dict[str, Mapping[str, Any]]:
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*-bench.json"))}


def read_scale(folder: Path = EVIDENCE) -> list[tuple[str, Mapping[str, Any]]]:
    """Oldest first."""
    found = [(path.name, json.loads(path.read_text())) for path in folder.glob(f"*{SUFFIX}")]
    return sorted(found, key=lambda one: (str(one[1]["setting"]["began"]), one[0]))


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.document", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    chosen = parser.parse_args(words)
    evidence = read()
    if not evidence:
        print(
            f"there is no evidence in {EVIDENCE}: make bench ARGS='--json docs/evidence/<date>-<commit>-bench.json'"
        )
        return 1
    wanted = text(evidence, read_scale())
    if chosen.check:
        return 0 if DOCUMENT.exists() and DOCUMENT.read_text() == wanted else 1
    DOCUMENT.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
