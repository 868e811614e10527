"""The page of evidence is what the soaks say."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tests.simulator.evidence import PAGE, TAUGHT, page, text


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


def test_what_is_clean_in_a_row_begins_after_a_violation_that_no_soak_told() -> None:
    taught = {
        "last_safety_change": {"at": "2026-02", "what": "R1"},
        "last_violation_elsewhere": {"at": "2026-05", "what": "a fresh seed of make test"},
        "violation": [],
    }
    said = text([_soak("2026-04", 20, 0), _soak("2026-05", 5, 0), _soak("2026-06", 3, 0)], taught)
    assert "counted back from the last soak: 8 seeds (" in said


def test_each_violation_has_a_plan_or_a_story_or_says_why_not() -> None:
    tests = Path(__file__).parents[1]
    for one in tomllib.loads(TAUGHT.read_text())["violation"]:
        plan, story = one.get("plan"), one.get("story")
        assert plan or story or one.get("gone"), one["seed"]
        if plan:
            text = (tests / "simulator" / "plans" / f"{plan}.plan").read_text()
            said = f"# failed at: {one['failed_at']}" if "failed_at" in one else "# red with: "
            assert said in text, one["seed"]
        assert not story or (tests / "stories" / f"{story}.story").exists(), one["seed"]
