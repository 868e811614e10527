"""The units for systemd: that they are units, start what is installed, and leave PostgreSQL to its guard."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy" / "units").glob("*.service"))
STARTS = re.compile(r"^ExecStart=(/opt/primacy/bin/(\S+)) --config (\S+)$", re.MULTILINE)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_an_installed_program_with_the_file_that_the_examples_name(unit: Path) -> None:
    found = STARTS.search(unit.read_text())
    assert found is not None
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert found[2] in scripts
    assert (ROOT / "deploy" / "examples" / Path(found[3]).name).is_file()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong_with_it(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze (apt-get install systemd)")
    copy = tmp_path / unit.name
    # Nothing is installed below /opt here, and the user is one of the installation's.
    text = STARTS.sub(rf"ExecStart={sys.executable} --config \3", unit.read_text())
    copy.write_text(re.sub(r"^User=.*$", "User=root", text, flags=re.MULTILINE))
    done = subprocess.run(
        [program, "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    about = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
    assert about == []


def test_a_stop_is_the_guards_to_make_and_nothing_else_of_the_group_is_told() -> None:
    """With systemd's default every backend would get SIGTERM together with the guard."""
    text = (ROOT / "deploy" / "units" / "primacy-agent.service").read_text()
    assert "\nKillMode=process\n" in text
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[1]) > 30  # type: ignore[index]
