"""Plans: the same for a seed, everywhere; written down and read again; small ones that once failed stay clean."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulator.dice import Dice
from tests.simulator.plan import Plan, Round, Timed, plan_of, read
from tests.simulator.shrink import kind_of, shrink
from tests.simulator.swarm import run

_ROOT = Path(__file__).parent.parent.parent
_PLANS = sorted((Path(__file__).parent / "plans").glob("*.plan"))
_DIGEST = "from tests.simulator.swarm import run; o = run({seed}); print(o.digest, o.steps, o.violation)"


def _in_a_process(seed: int, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _DIGEST.format(seed=seed)],
        cwd=_ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


@pytest.mark.parametrize("seed", [101, 106])
def test_a_seed_gives_the_same_trace_in_every_process(seed: int) -> None:
    assert _in_a_process(seed, "1") == _in_a_process(seed, "4242")


def test_the_dice_are_those_of_every_python() -> None:
    """Built on random() and getrandbits() alone; these numbers were drawn with Python 3.11."""
    dice = Dice(7)
    drawn = (
        dice.draw(1000),
        dice.between(5, 9),
        dice.chance(500),
        dice.pick("abcdefg"),
        dice.some("abcde", 3),
    )
    assert drawn == (323, 5, False, "a", ["c", "b", "a"])


def test_a_plan_is_read_as_it_was_written() -> None:
    for seed in range(50):
        plan = plan_of(seed)
        assert read(plan.text()) == plan


def test_a_plan_with_a_fault_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="earthquake"):
        read(replace(plan_of(1), rounds=(Round(100, (Timed(0, "earthquake", 1),)),)).text())


def test_a_failing_plan_is_shrunk_to_what_makes_it_fail() -> None:
    """Not run: it fails as long as one certain fault is in it and there are three members."""

    def violation_of(plan: Plan) -> str:
        faults = [timed.fault for one in plan.rounds for timed in one.faults]
        return "I1: row 7 lacks at b" if "cascade" in faults and plan.members >= 3 else ""

    guilty = Round(2_000, (Timed(0, "storm", 1), Timed(300, "cascade", 2)))
    plan = replace(plan_of(3), members=5, controls=4, weather="stormy").with_round(2, guilty)
    small = shrink(plan, violation_of=violation_of)
    assert [timed.fault for one in small.rounds for timed in one.faults] == ["cascade"]
    assert (small.members, small.controls, small.weather) == (3, 1, "calm")


def test_violations_are_alike_when_only_names_and_numbers_differ() -> None:
    one = "Violation: I1: row 191, acknowledged in epoch 2, lacks at a in 4"
    assert kind_of(one) == kind_of(one.replace("191", "7").replace("at a in 4", "at c in 9"))
    assert kind_of(one) != kind_of("Violation: I8: b is sealed for 4 and streams in 3")


@pytest.mark.parametrize("path", _PLANS, ids=lambda path: path.stem)
def test_a_plan_that_once_failed_is_clean(path: Path) -> None:
    assert not run(read(path.read_text())).violation
