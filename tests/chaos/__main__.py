"""`make chaos`: real faults on real parts, and what clients saw of each. Ends non-zero if one was not as it must be.

Root is needed: each host is a network namespace, and each member has a disk of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from deploy.lab.lab import LabFailed
from deploy.lab.namespaces import can_have_namespaces
from tests.chaos.catalogue import CATALOGUE, chosen
from tests.chaos.play import FLEET, Chaos
from tests.chaos.table import complaints, document, markdown, table_of

EVIDENCE = "primacy-chaos"
# Also where no terminal says how wide it is.
WIDE = 130


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=…", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], help="a fault's name, or a part of it; may be repeated"
    )
    parser.add_argument(
        "--list", action="store_true", help="the faults, what must come of each, and its bound"
    )
    parser.add_argument("--seed", type=int, help="of what is left to chance, such as the moment of a fault")
    parser.add_argument("--times", type=int, default=1, help="each so many times, one after the other")
    parser.add_argument("--disk-mib", type=int, default=FLEET.disk_mib, help="of each member's disk")
    parser.add_argument("--json", type=Path, help="write the run to this file too")
    parser.add_argument("--markdown", type=Path, help="write the table to this file too")
    parser.add_argument("--evidence", type=Path, help="where logs and journals of what was wrong are kept")
    told = parser.parse_args(words)
    try:
        scenarios = chosen(told.only)
    except LookupError as error:
        parser.error(str(error))
    if told.list:
        for scenario in scenarios:
            bound = (
                "as long as it lasts" if scenario.outage_ms_max is None else f"{scenario.outage_ms_max} ms"
            )
            print(f"{scenario.name}: {scenario.must} ({scenario.then.value}; {bound})")
        return 0
    console = Console(highlight=False, soft_wrap=True)
    if refused := can_have_namespaces():
        console.print(f"make chaos needs network namespaces: {refused}")
        return 2
    seed = secrets.randbelow(1_000_000) if told.seed is None else told.seed
    began_s, began = time.monotonic(), datetime.now(UTC)

    def say(text: str) -> None:
        console.print(f"{time.monotonic() - began_s:7.1f} s  {text}", markup=False)

    scenarios = tuple(scenario for scenario in scenarios for _ in range(told.times))
    say(f"{len(scenarios)} faults, of a catalogue of {len(CATALOGUE)}; seed {seed}")
    evidence = told.evidence or Path(tempfile.gettempdir()) / f"{EVIDENCE}-{seed}"
    chaos = Chaos(say, seed, evidence, description=replace(FLEET, disk_mib=told.disk_mib))
    try:
        chaos.play(scenarios)
    except LabFailed as failed:
        say(f"the fleet failed: {failed}")
    except KeyboardInterrupt:
        say("interrupted; everything was taken down")
    Console(highlight=False, width=max(console.width, WIDE)).print(table_of(chaos.rows))
    for complaint in complaints(chaos.rows):
        console.print(complaint, markup=False)
    if told.json:
        found = document(
            chaos.rows,
            seed=seed,
            commit=os.environ.get("PRIMACY_COMMIT", ""),
            began=began.isoformat(timespec="seconds"),
            took_s=time.monotonic() - began_s,
        )
        told.json.write_text(json.dumps(found, indent=1) + "\n")
    if told.markdown:
        told.markdown.write_text(markdown(chaos.rows))
    bad = [row for row in chaos.rows if not row.passed]
    good_count = len(chaos.rows) - len(bad)
    say(f"{good_count} as they must be, {len(bad)} not, {len(scenarios) - len(chaos.rows)} not played")
    return 1 if bad or len(chaos.rows) < len(scenarios) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
