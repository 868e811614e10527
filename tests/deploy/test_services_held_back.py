"""The two files that hold services back are put back in every case, in a stand-in for the root folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.setup.held_back import NO_CLUSTER, POLICY, SAVED_POLICY, put_back, services_held_back

HOLDER = """
import sys, time
from pathlib import Path
from deploy.setup.held_back import Interrupted, services_held_back
try:
    with services_held_back(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
except Interrupted as interrupted:
    sys.exit(128 + interrupted.number)
"""


def everything_below(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else "a folder"
        for path in folder.rglob("*")
    }


@pytest.fixture
def system(tmp_path: Path) -> Path:
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    return tmp_path


def holding(system: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(system)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def test_while_a_package_is_installed_services_do_not_start_and_no_cluster_is_made(system: Path) -> None:
    with services_held_back(system):
        assert subprocess.run([system / POLICY, "postgresql", "start"], check=False).returncode == 101
        assert "create_main_cluster = false" in (system / NO_CLUSTER).read_text()


def test_afterwards_nothing_of_ours_is_left(system: Path) -> None:
    before = everything_below(system)
    with services_held_back(system):
        assert everything_below(system) != before
    assert everything_below(system) == before


def test_a_policy_of_the_administrator_comes_back_as_it_was(system: Path) -> None:
    (system / POLICY).write_text("#!/bin/sh\nexit 0\n")
    (system / POLICY).chmod(0o750)
    with services_held_back(system):
        assert subprocess.run([system / POLICY], check=False).returncode == 101
    assert (system / POLICY).read_text() == "#!/bin/sh\nexit 0\n"
    assert (system / POLICY).stat().st_mode & 0o777 == 0o750
    assert not (system / SAVED_POLICY).exists()


def test_a_folder_of_the_administrator_stays(system: Path) -> None:
    (system / NO_CLUSTER.parent).mkdir(parents=True)
    (system / NO_CLUSTER.parent / "own.conf").write_text("ssl = off\n")
    before = everything_below(system)
    with services_held_back(system):
        pass
    assert everything_below(system) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_installation_puts_both_back(system: Path, number: signal.Signals) -> None:
    (system / POLICY).write_text("the administrator's")
    before = everything_below(system)
    child = holding(system)
    child.send_signal(number)
    assert child.wait(20) == 128 + number
    assert everything_below(system) == before


def test_what_a_killed_run_left_behind_is_known_by_its_mark_and_removed(system: Path) -> None:
    (system / POLICY).write_text("the administrator's")
    before = everything_below(system)
    child = holding(system)
    child.kill()
    child.wait(20)
    assert everything_below(system) != before
    assert put_back(system)
    assert everything_below(system) == before
    assert not put_back(system)


def test_a_run_killed_between_moving_the_policy_and_writing_its_own_is_undone(system: Path) -> None:
    (system / SAVED_POLICY).write_text("the administrator's")
    assert put_back(system)
    assert (system / POLICY).read_text() == "the administrator's"
    assert not os.path.lexists(system / SAVED_POLICY)
