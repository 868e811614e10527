"""`python -m tests.mutants [ID …]`: for each mutant the seed that catches it, and what the checker said.

Each is planted in a scratch copy, where the simulator runs from seed 1: first a short while for every one, then
those that are left go on with the next seeds for as long as there is time. `--no-invariants` switches the check of
records off there (orchestrator/core/invariants.py, which production runs too), so that it is seen what the
simulator's own checkers find alone. At most two may survive, each with a written proof in its file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from tests.mutants.catalogue import Mutant, mutants
from tests.mutants.page import page
from tests.mutants.verdict import Verdict
from tests.planting import Edit, Plant, PlantDoesNotFit, planted_copy

SURVIVORS_AT_MOST = 2
_FIRST_S = 15.0
_WALL_TIMES = 30
"""In the idle class beside a lab a run gets a tenth of a processor at times, and is not one that never ends."""
_COMMAND = "make mutants"
_NO_INVARIANTS = Edit(
    "orchestrator/core/engine.py", "            check(self.view.record, move.record)\n", "            pass\n"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these: a mutant, a clause (R6.8) or a rule (R6)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=120.0,
        help="how long each is hunted at the most, in seconds of a processor",
    )
    parser.add_argument("--minutes", type=float, default=28.0, help="how long all of it may take")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--seed", type=int, default=1, help="the first seed; the others follow it")
    parser.add_argument("--no-invariants", action="store_true", help="the simulator's own checkers alone")
    parser.add_argument("--markdown", type=Path, help="write what was seen to this file too")
    options = parser.parse_args()
    chosen = [m for m in mutants() if not options.names or any(_is_meant(m, n) for n in options.names)]
    if not chosen:
        print(f"no mutant is called {', '.join(options.names)}")
        return 2
    began = time.monotonic()
    first = hunted(chosen, min(_FIRST_S, options.seconds), {}, options)
    left = [v.mutant for v in first if v.by == "nobody"]
    left_s = options.minutes * 60 - (time.monotonic() - began)
    longer_s = min(options.seconds - _FIRST_S, left_s * options.jobs / max(1, len(left)))
    again: list[Verdict] = []
    if left and longer_s > 1:
        print(f"{len(left)} are left, and are hunted for another {longer_s:.0f} s each")
        again = hunted(left, longer_s, {v.mutant.name: v for v in first}, options)
    newest = {verdict.mutant.name: verdict for verdict in (*first, *again)}
    verdicts, took_s = list(newest.values()), time.monotonic() - began
    for line in _totals(verdicts, took_s):
        print(line)
    if options.markdown is not None:
        options.markdown.write_text(page(verdicts, command=_COMMAND, where=_where(), took_s=took_s))
    return 0 if _is_good(verdicts) else 1


def hunted(
    chosen: list[Mutant], seconds: float, before: dict[str, Verdict], options: argparse.Namespace
) -> list[Verdict]:
    """Each for so long, from where it was left before."""
    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for verdict in pool.map(lambda m: _hunted(m, seconds, before.get(m.name), options), chosen):
            verdicts.append(verdict)
            print(verdict.line, flush=True)
    return verdicts


def _hunted(mutant: Mutant, seconds: float, before: Verdict | None, options: argparse.Namespace) -> Verdict:
    had, had_s = (0, 0.0) if before is None else (before.seeds, before.took_s)
    first_seed = options.seed + had
    edits = (*mutant.edits, _NO_INVARIANTS) if options.no_invariants else mutant.edits
    with tempfile.TemporaryDirectory(prefix="primacy-mutant-") as scratch:
        try:
            tree = planted_copy(Plant(mutant.name, mutant.quote, "", edits), Path(scratch))
        except PlantDoesNotFit as error:
            return Verdict(mutant, "broken", 0, 0, 0.0, str(error))
        story = [mutant.story] if mutant.story and not before else []
        try:
            done = subprocess.run(
                [sys.executable, "-B", "-m", "tests.mutants.hunt", str(seconds), str(first_seed), *story],
                cwd=tree,
                env=os.environ | {"PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"},
                capture_output=True,
                text=True,
                timeout=seconds * _WALL_TIMES + 60,
            )
        except subprocess.TimeoutExpired:
            return Verdict(mutant, "broken", 0, 0, seconds * _WALL_TIMES + 60, "a run never ended")
    try:
        told = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        return Verdict(mutant, "broken", 0, 0, 0.0, (done.stderr.splitlines() or ["nothing said"])[-1])
    said, by = told["violation"], "checker"
    if not said:
        strays = f"{told['strays']} seeds ended in {told['stray']}" if told["strays"] else ""
        by = "broken" if told["strays"] == told["seeds"] else "nobody"
        said = strays or mutant.equivalent or mutant.blind or "NOT EXPLAINED"
    elif said.startswith("InvariantBroken"):
        by = "record"
    elif said.startswith("story "):
        by = "story"
    return Verdict(mutant, by, told["seed"], had + told["seeds"], had_s + told["took_s"], said)


def _where() -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}, {os.cpu_count()} cores"


def _is_meant(mutant: Mutant, name: str) -> bool:
    return name in (mutant.name, mutant.clause, mutant.clause.partition(".")[0])


def _is_good(verdicts: list[Verdict]) -> bool:
    survivors = [v for v in verdicts if v.by == "nobody"]
    return (
        all(v.mutant.equivalent for v in survivors)
        and len(survivors) <= SURVIVORS_AT_MOST
        and not any(v.by == "broken" for v in verdicts)
    )


def _totals(verdicts: list[Verdict], took_s: float) -> Iterator[str]:
    by = Counter(v.by for v in verdicts)
    caught = by["record"] + by["checker"] + by["story"]
    seeds = sorted(v.seeds for v in verdicts if v.seed)
    yield (
        f"{caught} of {len(verdicts)} caught in {took_s:.0f} s: {by['record']} by the check of records, "
        f"{by['checker']} by the simulator's checkers, {by['story']} by a story; {by['broken']} did not run"
    )
    if seeds:
        yield f"seeds it took: half of them at most {seeds[len(seeds) // 2]}, the longest {seeds[-1]}"
    for verdict in (v for v in verdicts if v.by == "nobody"):
        mutant = verdict.mutant
        why = f"equivalent: {mutant.equivalent}" if mutant.equivalent else f"NOT SEEN: {mutant.blind or '?'}"
        yield f"survived  {mutant.name}  ({mutant.quote})  {why}"


if __name__ == "__main__":
    sys.exit(main())
