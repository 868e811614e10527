"""The page of evidence is what the soaks say."""

from __future__ import annotations

from typing import Any

from tests.simulator.evidence import PAGE, page, text


def _soak(began: str, seeds: int, violations: int) -> tuple[str, dict[str, Any]]:
    said = [{"seed": 1, "said": "I1"}] * violations
    counts = {"seeds": seeds, "fault storm": 2}
    return "x.json", {
        "began": began,
        "commit": "abc",
        "first_seed": 1,
        "counts": counts,
        "violations": said,
    }


def test_the_page_is_made_from_the_soaks() -> None:
    assert PAGE.read_text() == page()


def test_seeds_count_from_the_last_change_of_a_rule_and_from_the_last_violation() -> None:
    taught = {"last_safety_change": {"at": "2026-02", "what": "R1"}, "violation": []}
    soaks = [_soak("2026-01", 7, 0), _soak("2026-03", 10, 1), _soak("2026-04", 20, 0), _soak("2026-05", 5, 0)]
    said = text(soaks, taught)
    assert "35 seeds, 1 violations" in said
    assert "counted back from the last soak: 25 seeds" in said
    assert "| storm | 8 |" in said
