"""A short soak, ended from outside in the middle of a round: what was counted is there, and nothing else is."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.lab.run_folder import RunId, started_at_ticks
from tests.chaos.catalogue import chosen
from tests.integration.lab.test_lab import leavings
from tests.needs import needs_bind, needs_etcd, needs_netns, needs_nft, needs_postgresql
from tests.soak.draws import When, rounds

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
FAULTS = ("postmaster killed", "host lost", "leader killed")
PLAYED_WITHIN_S = 180.0
DOWN_WITHIN_S = 60.0


def test_a_soak_that_is_ended_in_the_middle_has_counted_and_leaves_nothing_behind(tmp_path: Path) -> None:
    for need in (needs_postgresql, needs_etcd, needs_netns, needs_nft, needs_bind):
        need()
    totals, table = tmp_path / "soak.json", tmp_path / "soak.md"
    seed = _seed_that_draws_two_faults_and_then_one()
    words = [f"--seed={seed}", "--hours=0.5", f"--json={totals}", f"--markdown={table}"]
    words += [f"--evidence={tmp_path / 'evidence'}", *(f"--only={name}" for name in FAULTS)]
    log = tmp_path / "soak.log"
    with log.open("wb") as said:
        soak = subprocess.Popen(
            [sys.executable, "-m", "tests.soak", *words], cwd=ROOT, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            ends_at_s = time.monotonic() + PLAYED_WITHIN_S
            while not _is_in_the_round_after(totals, log, 2):
                assert soak.poll() is None, log.read_text()
                assert time.monotonic() < ends_at_s, log.read_text()
                time.sleep(0.2)
            started = started_at_ticks(soak.pid)
            assert started is not None
            run = RunId(soak.pid, started)
            assert leavings(run)
            soak.send_signal(signal.SIGTERM)
            code = soak.wait(DOWN_WITHIN_S)
        finally:
            soak.kill()
            soak.wait()
    counted = json.loads(totals.read_text())
    remarks = "\n".join([*counted["remarks"], log.read_text()])
    assert counted["rounds"] == 2
    assert counted["ended"].startswith("interrupted")
    assert [(name, line["wrong"]) for name, line in counted["lines"].items() if line["wrong"]] == [], remarks
    assert code == 130, remarks
    assert "| all rounds | 2 | 1 |" in table.read_text()
    assert leavings(run) == []
    assert str(run) not in Path("/proc/mounts").read_text()


def _is_in_the_round_after(totals: Path, log: Path, count: int) -> bool:
    return (
        totals.exists()
        and json.loads(totals.read_text())["rounds"] == count
        and log.read_text().count("──") > count
    )


def _seed_that_draws_two_faults_and_then_one() -> int:
    for seed in itertools.count(1):
        first, second = itertools.islice(rounds(seed, chosen(list(FAULTS))), 2)
        if len(first.parts) == 2 and first.parts[1].when is When.IN_FORCE and second.is_alone:
            return seed
    raise AssertionError
