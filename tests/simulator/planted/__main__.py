"""`python -m tests.simulator.planted [NAME …]`: for each planted fault the seed that finds it."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.planting import planted_copy, plants

WITHIN_S = 60


def main(names: list[str]) -> int:
    green = 0
    for plant in plants(Path(__file__).parent):
        if names and plant.name not in names:
            continue
        with tempfile.TemporaryDirectory(prefix="primacy-planted-") as scratch:
            tree = planted_copy(plant, Path(scratch))
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "tests.simulator", "--seconds", str(WITHIN_S), "--seed", "1"],
                cwd=tree,
                capture_output=True,
                text=True,
                timeout=WITHIN_S * 3,
            )
            took_s = time.monotonic() - began
        found = re.search(r"VIOLATION in seed (\d+): (.*)", done.stdout)
        if found is None:
            green += 1
            print(f"NOT FOUND  {plant.name:<28} {plant.rule}: {took_s:.1f} s")
            print(done.stdout[-600:], done.stderr[-1200:], flush=True)
        else:
            print(
                f"found      {plant.name:<28} seed {found[1]:>4}, {took_s:5.1f} s: {found[2][:110]}",
                flush=True,
            )
    return 1 if green else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
