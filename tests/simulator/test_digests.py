"""The same seed gives the same trace, byte for byte, on every machine and on every Python from 3.11 on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.simulator.digests import digest_of, kept

_ROOT = Path(__file__).parents[2]
_OTHERS = tuple(found for minor in range(12, 20) if (found := shutil.which(f"python3.{minor}")))
"""Beyond the one that is needed: nothing is missing where there is none."""
_WRITE = "python -m tests.simulator.digests --write"


def test_some_traces_are_kept() -> None:
    assert len(kept()) >= 3


@pytest.mark.parametrize("plan", kept())
def test_the_trace_of_a_small_plan_is_the_one_that_is_kept(plan: str) -> None:
    assert digest_of(plan) == kept()[plan], f"only after a change that was meant: {_WRITE}"


@pytest.mark.parametrize("python", _OTHERS)
def test_another_python_gives_the_same_traces(python: str) -> None:
    can_run = [python, "-c", "import msgspec, typing_extensions"]
    if subprocess.run(can_run, capture_output=True, timeout=60).returncode:
        pytest.skip(f"{python} has no msgspec")
    done = subprocess.run(
        [python, "-B", "-m", "tests.simulator.digests"],
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert dict(line.split() for line in done.stdout.splitlines()) == kept()
