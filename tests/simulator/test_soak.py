"""The soak: every seed once, by processes that take turns."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.simulator import soak
from tests.simulator.compiled import ROOT
from tests.simulator.swarm import Outcome

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


def test_a_seed_that_never_ends_is_named_and_the_rest_of_its_hundred_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "KEPT", tmp_path / "failing")
    began_s = time.monotonic()

    def play(seed: int) -> Outcome:
        while seed == 5007:
            pass
        return Outcome(seed, {f"seed {seed}": 1}, (), "", 1, 1, "")

    crew = soak.Crew(5000, 1, began_s + 60, play=play, seed_max_s=0.2)
    played, violations = Counter[str](), []
    hundred = {f"seed {seed}" for seed in range(5000, 5100) if seed != 5007}
    while not hundred <= played.keys() and crew.at_work() and time.monotonic() < began_s + 30:
        with suppress(queue.Empty):
            played.update(crew.parts.get(timeout=0.1)[0])
        violations += crew.without_their_process()[1]
    crew.end()
    assert hundred <= played.keys()
    assert violations == [(5007, "does not end within 0.2 s of a core's time")]
    assert (tmp_path / "failing").read_text() == "5007 does not end within 0.2 s of a core's time\n"
