"""`python -m tests.mutants.plans`: small plans of the simulator that go red when a clause is taken away.

    python -m tests.mutants.plans [PLAN …]                     plant what each is red with, run it, tell
    python -m tests.mutants.plans --make MUTANT --seed N --plan NAME [--covers "M:mutate/R1-not-durable"]
                                                               shrink a seed that catches it; written below plans/

Such a plan is clean as the code is (tests/simulator/test_plans.py runs it), and its comments tell what happened with
the clause away. Its dice belong to the simulator of the day that it was made on: after a change of the simulator one
may have lost its teeth, which this command shows, and is made anew.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.catalogue import mutants
from tests.planting import ROOT, Plant, planted_copy, plants

FOLDER = ROOT / "tests" / "simulator" / "plans"
_HUNTED_S = "20"
_RED_WITH = "# red with: "
_RUN = (
    "import sys; from pathlib import Path; from tests.simulator.plan import read;"
    "from tests.simulator.swarm import run; print(run(read(Path(sys.argv[1]).read_text())).violation)"
)


def every_plant() -> dict[str, Plant]:
    """The mutants, and the faults that were planted before there were mutants."""
    old = plants(ROOT / "tests" / "simulator" / "planted")
    return {plant.name: plant for plant in (*old, *(mutant.plant for mutant in mutants()))}


def red_with(path: Path) -> str:
    """The name of what turns it red; empty: it failed once by itself."""
    found = re.search(rf"^{_RED_WITH}(\S+)$", path.read_text(), re.MULTILINE)
    return "" if found is None else found[1]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.plans", description=__doc__)
    parser.add_argument("plans", nargs="*", help="only these")
    parser.add_argument("--make", metavar="MUTANT", help="instead: make a plan that is red with this")
    parser.add_argument(
        "--seed", type=int, default=0, help="one that catches it (default: the first that does)"
    )
    parser.add_argument("--tries", type=int, default=40, help="how many smaller plans are run at the most")
    parser.add_argument("--plan", help="what it is called (default: as the mutant)")
    parser.add_argument("--covers", default="", help="tags for its first line")
    options = parser.parse_args(arguments)
    if options.make:
        return _make(options.make, options.seed, options.tries, options.plan or options.make, options.covers)
    blunt = 0
    for path in sorted(FOLDER.glob("*.plan")):
        name = red_with(path)
        if not name or (options.plans and path.stem not in options.plans):
            continue
        said = _run_planted(name, path)
        blunt += not said
        print(f"{'red  ' if said else 'BLUNT'} {path.stem:<40} {name:<36} {said[:110]}", flush=True)
    return 1 if blunt else 0


def _make(name: str, seed: int, tries: int, called: str, covers: str) -> int:
    with tempfile.TemporaryDirectory(prefix="primacy-plan-") as scratch:
        tree = planted_copy(every_plant()[name], Path(scratch))
        if not seed:
            hunted = _python(tree, "-m", "tests.mutants.hunt", _HUNTED_S, "1").splitlines()
            seed = int(json.loads(hunted[-1])["seed"]) if hunted else 0
        _python(tree, "-m", "tests.simulator", "--shrink", str(seed), "--tries", str(tries))
        made = tree / "tests/simulator/plans" / f"seed_{seed}.plan"
        if not made.exists():
            print(f"seed {seed} does not catch {name}")
            return 1
        text = made.read_text()
    path = FOLDER / f"{called}.plan"
    head = [f"# covers: {covers}"] if covers else []
    path.write_text("\n".join([*head, f"{_RED_WITH}{name}", text]))
    print(f"{path} is written")
    return 0


def _run_planted(name: str, plan: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="primacy-plan-") as scratch:
        tree = planted_copy(every_plant()[name], Path(scratch))
        return _python(tree, "-c", _RUN, str(plan)).strip()


def _python(tree: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-B", *words],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=1_800,
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
