"""`make soak HOURS=n`: faults of the chaos catalogue for hours on real parts, drawn on a seed, some of them together.

Ends non-zero if a round was wrong. Root is needed: each host is a network namespace with a disk of its own.
"""

from __future__ import annotations

import argparse
import itertools
import os
import secrets
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rich.console import Console

from deploy.lab.lab import LabFailed
from deploy.lab.namespaces import can_have_namespaces
from tests.chaos.catalogue import chosen
from tests.chaos.play import FLEET, Say
from tests.soak.draws import rounds
from tests.soak.page import page
from tests.soak.play import FLEET_ROUNDS, Soak, write_json
from tests.soak.table import table_of
from tests.soak.totals import Totals

# Also where no terminal says how wide it is.
WIDE = 160
INTERRUPTED = 130


def main(words: list[str]) -> int:
    told = _told(words)
    console = Console(highlight=False, soft_wrap=True)
    try:
        catalogue = chosen(told.only)
    except LookupError as error:
        console.print(error, markup=False)
        return 2
    seed = secrets.randbelow(1_000_000) if told.seed is None else told.seed
    if told.draws:
        for this in itertools.islice(rounds(seed, catalogue, told.first_round), told.draws):
            console.print(f"{this.number:5}  {this}", markup=False)
        return 0
    if refused := can_have_namespaces():
        console.print(f"make soak needs network namespaces: {refused}")
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    began_s = time.monotonic()

    def say(text: str) -> None:
        console.print(f"{(time.monotonic() - began_s) / 60:8.2f} min  {text}", markup=False)

    say(f"{told.hours} h of {len(catalogue)} faults, a new fleet every {FLEET_ROUNDS} rounds; seed {seed}")
    began = datetime.now(UTC).isoformat(timespec="seconds")
    totals = Totals(seed, os.environ.get("PRIMACY_COMMIT", ""), began)

    def written() -> None:
        if told.json:
            write_json(told.json, totals)

    evidence = told.evidence or Path(tempfile.gettempdir()) / f"primacy-soak-{seed}"
    soak = Soak(
        say,
        totals,
        catalogue,
        until_s=began_s + told.hours * 3600,
        evidence=evidence,
        round_count=told.rounds,
        first=told.first_round,
        disk_mib=told.disk_mib,
        written=written,
    )
    code = _played(soak, totals, say)
    totals.took_s = round(time.monotonic() - began_s)
    written()
    Console(highlight=False, width=max(console.width, WIDE)).print(table_of(totals))
    for remark in totals.remarks:
        console.print(remark, markup=False)
    if told.markdown:
        told.markdown.write_text(page(totals.as_json(), "" if told.json is None else told.json.name))
    say(f"{totals.rounds} rounds, {totals.wrong} wrong, {totals.late} late; {totals.ended}")
    return 1 if totals.wrong else code


def _played(soak: Soak, totals: Totals, say: Say) -> int:
    try:
        soak.play()
    except LabFailed as failed:
        totals.ended = f"the lab failed: {failed}"
    except (KeyboardInterrupt, SystemExit):
        totals.ended = "interrupted; everything was taken down"
        return INTERRUPTED
    else:
        totals.ended = "to its end"
        return 0
    say(totals.ended)
    return 1


def _told(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak HOURS=n ARGS=…", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0, help="no round begins after them (HOURS=n; 1)")
    parser.add_argument("--seed", type=int, help="of the draws: the same rounds again, in another timing")
    parser.add_argument("--first-round", type=int, default=1, help="begin with this round of the seed")
    parser.add_argument("--rounds", type=int, help="so many at the most")
    parser.add_argument("--draws", type=int, metavar="N", help="only print the first N rounds of the seed")
    parser.add_argument(
        "--only", action="append", default=[], help="draw from these faults: a name, or a part of it"
    )
    parser.add_argument("--disk-mib", type=int, default=FLEET.disk_mib, help="of each member's disk")
    parser.add_argument("--json", type=Path, help="write the totals to this file, after every round")
    parser.add_argument("--markdown", type=Path, help="write the page of evidence to this file at the end")
    parser.add_argument("--evidence", type=Path, help="where logs and journals of what was wrong are kept")
    return parser.parse_args(words)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM as Ctrl-C, also while no lab is up."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
