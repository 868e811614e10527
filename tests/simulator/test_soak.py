"""The soak: every seed once, by processes that take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.simulator.compiled import ROOT

_SOAK = ("-m", "tests.simulator", "--soak", "--hours", "0.002", "--jobs", "2", "--seed", "5000")


def test_a_soak_of_two_processes_counts_its_seeds_and_ends_by_itself(tmp_path: Path) -> None:
    into = tmp_path / "totals.json"
    done = subprocess.run(
        [sys.executable, *_SOAK, "--json", str(into)],
        cwd=ROOT,
        env=os.environ | {"PRIMACY_SOAK_FILE": str(tmp_path / "failing")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(into.read_text())
    assert (told["first_seed"], told["processes"], told["violations"]) == (5000, 2, [])
    assert told["counts"]["seeds"] > 0
