"""The simulator as machine code: what is compiled, and that it also goes without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.simulator.compiled import ROOT, Found, sources
from tests.simulator.digests import kept


def test_the_cores_and_the_model_are_compiled_but_not_what_mypyc_cannot_take() -> None:
    known = sources()
    assert known["orchestrator/core/decide.py"]
    assert known["agents/core/obey.py"]
    assert known["tests/simulator/world.py"]
    assert known["orchestrator/core/record.py"], "its Structs are spelled out"
    assert not known["common/lsn.py"]
    assert not known["agents/core/recipe_serve.py"], "its generators are closed while they delegate"
    assert not known["tests/simulator/dice.py"]


def test_what_was_not_built_is_found_where_it_always_is(tmp_path: Path) -> None:
    assert Found(tmp_path).find_spec("tests.simulator.world", None) is None


def test_where_nothing_can_be_compiled_it_runs_uncompiled_and_says_so(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulator.compiled", "tests.simulator.digests"],
        cwd=ROOT,
        env=os.environ | {"PRIMACY_HOME": str(in_the_way)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    told, *digests = done.stdout.splitlines()[-1 - len(kept()) :]
    assert told.startswith("runs uncompiled: ")
    assert dict(line.split() for line in digests) == kept()
