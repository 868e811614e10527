"""`make bench-scale`: what one control node costs with thousands of members, and how soon it acts among them.

Ends non-zero where something was dropped, a fleet did not become calm, or a lost primary was not replaced. An aim
that was missed is printed, and no failure: it says as much of the machine as of Primacy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from common import logs
from deploy.lab.loopback import claim_net
from deploy.lab.programs import Programs
from deploy.lab.run_folder import KEEP_MARK, RunId, make_run_folder, remove_folder
from deploy.scale.chapter import dropped
from deploy.scale.measure import Asked, Found, Measurement
from deploy.scale.stage import Stage, StageFailed

SIZES = (1_000, 3_000, 10_000, 20_000)
ALONE = 30
"""Members of the fleet that a failover among thousands is compared with: those that fail over, and nobody else."""


def main(words: Sequence[str]) -> int:
    chosen = _parser().parse_args(words)
    console = Console(highlight=False, soft_wrap=True)
    logs.set_up(program="scale", level="error", node="players")
    programs = Programs.discover()
    began, load = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), os.getloadavg()[0]
    found: list[Found] = []
    failed: list[dict[str, object]] = []
    for members in chosen.sizes:
        lost = 0 if members <= ALONE else chosen.lost
        asked = Asked(members, chosen.singles, lost, chosen.seconds, chosen.seed)
        console.print(f"[bold]{members} members[/bold]")
        try:
            found.append(_measure(asked, programs, console, keep=chosen.keep))
        except StageFailed as failure:
            console.print(f"failed: {failure}")
            failed.append({"members": members, "why": str(failure), "load_average": os.getloadavg()[0]})
    document: dict[str, Any] = {
        "setting": {
            "began": began,
            "commit": os.environ.get("PRIMACY_COMMIT", ""),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "etcd": programs.etcd_version,
            "load_average": load,
            "seconds": chosen.seconds,
        },
        "sizes": [asdict(one) for one in found],
        "failed": failed,
    }
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if failed or any(dropped(one) for one in document["sizes"]) else 0


def _measure(asked: Asked, programs: Programs, console: Console, *, keep: bool) -> Found:
    folder = make_run_folder(RunId.of_this_process())
    net, claim = claim_net()
    try:
        stage = Stage(folder, programs, net)
        try:
            return asyncio.run(Measurement(stage, asked, console).run())
        except ExceptionGroup as several:
            failures, others = several.split(StageFailed)
            if failures is None or others is not None:
                raise
            raise StageFailed("; ".join(map(str, _each(failures)))) from several
    finally:
        claim.close()
        if keep:
            (folder / KEEP_MARK).touch()
            console.print(f"  kept: {folder}")
        else:
            remove_folder(folder)


def _each(group: ExceptionGroup[StageFailed]) -> list[StageFailed]:
    """The failures themselves, however deep they lie."""
    each: list[StageFailed] = []
    for one in group.exceptions:
        each += _each(one) if isinstance(one, ExceptionGroup) else [one]
    return each


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.scale", description=__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[ALONE, *SIZES], metavar="MEMBERS", help="fleets to measure"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of the measurement of cost")
    parser.add_argument("--singles", type=int, default=10, help="failovers one after the other")
    parser.add_argument("--lost", type=int, default=100, help="primaries lost at once")
    parser.add_argument("--seed", type=int, default=1, help="of the phases of the beats")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the figures there; docs/evidence/…-scale.json are shown in docs/performance.md",
    )
    parser.add_argument("--keep", action="store_true", help="keep the run's folder with its logs")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
