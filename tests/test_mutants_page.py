"""What the page of the mutants says."""

from __future__ import annotations

from dataclasses import replace

from tests.mutants.catalogue import mutants
from tests.mutants.page import page
from tests.mutants.verdict import Verdict

ONE, TWO, THREE = mutants()[:3]


def test_each_mutant_is_a_row_and_a_survivor_is_named_with_its_proof() -> None:
    survivor = replace(THREE, equivalent="the same in every world")
    seen = [
        Verdict(ONE, "checker", 7, 7, 1.0, "Violation: R1: a | b"),
        Verdict(TWO, "story", 0, 0, 0.1, "story s001: told"),
        Verdict(survivor, "nobody", 0, 500, 120.0, ""),
    ]
    told = page(seen, command="make mutants", where="today", took_s=480.0)
    assert f"| {ONE.name} | checker | 7 | 7 | Violation: R1: a / b |" in told
    assert f"| {TWO.name} | story | - | 0 |" in told
    assert "Of 3 mutants 1 were caught by the simulator's own checkers" in told
    assert "8 minutes" in told
    assert f'- **{THREE.name}** ("{THREE.quote}"): equivalent. the same in every world' in told


def test_a_survivor_without_a_proof_is_told_as_one() -> None:
    seen = [Verdict(replace(ONE, equivalent=""), "nobody", 0, 500, 120.0, "")]
    assert "NOT EXPLAINED" in page(seen, command="make mutants", where="today", took_s=1.0)
