"""`python -m tests.broken [NAME …]`: in a scratch copy a clause of each rule is taken away, and its test run.

Fails if a test stays green, if it could not be run, or if a rule has no plant at all. For each it prints
what the test said. That the tests are green without the plants is `make test`'s business.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from tests.planting import Plant, PlantDoesNotFit, planted_copy, plants

RULES = tuple(f"R{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13))
WITHIN_S = 180
_NOT_STARTED = re.compile(r"ImportError|ModuleNotFoundError|SyntaxError|fixture .* not found")


def main(names: list[str]) -> int:
    chosen = [plant for plant in plants(Path(__file__).parent) if not names or plant.name in names]
    failed = 0
    for plant in chosen:
        began = time.monotonic()
        said, is_red = run(plant)
        failed += not is_red
        word = "red" if is_red else "NOT SEEN"
        print(f"{word:<8}  {plant.name:<24} {time.monotonic() - began:5.1f} s  {plant.rule}")
        print(textwrap.indent(said, " " * 10), flush=True)
    missing = [] if names else [rule for rule in RULES if not any(_is_of(plant, rule) for plant in chosen)]
    for rule in missing:
        print(f"MISSING   {rule} has no plant")
    print(f"{len(chosen) - failed} of {len(chosen)} were seen")
    return 1 if failed or missing or not chosen else 0


def run(plant: Plant) -> tuple[str, bool]:
    """What the test said, and whether it turned red."""
    with tempfile.TemporaryDirectory(prefix="primacy-broken-") as scratch:
        try:
            tree = planted_copy(plant, Path(scratch))
        except PlantDoesNotFit as error:
            return str(error), False
        done = subprocess.run(
            [sys.executable, "-B", "-m", "pytest", "-qx", "-p", "no:cacheprovider", plant.turns_red],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
        )
    # 1: tests ran and failed. Anything else (nothing collected, a broken import) proves nothing.
    if done.returncode == 1 and not _NOT_STARTED.search(done.stdout):
        complaints = [line[1:].strip() for line in done.stdout.splitlines() if line.startswith("E  ")]
        return (complaints or ["it failed"])[0][:150], True
    return (
        f"{plant.turns_red} ended with {done.returncode}:\n{done.stdout[-1500:]}{done.stderr[-500:]}",
        False,
    )


def _is_of(plant: Plant, rule: str) -> bool:
    return re.match(rf"{rule}\b", plant.rule) is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
