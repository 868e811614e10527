"""Several runs of the chaos suite on one page."""

from __future__ import annotations

from typing import Any

from tests.chaos.runs_page import page


def row(name: str, outage_ms: float | None, **more: Any) -> dict[str, Any]:
    known = {"lost_count": 0, "second_writer_count": 0, "whole_after_s": 1.26, "complaints": [], "late": []}
    return {"name": name, "outage_dns_ms": outage_ms, **known, **more}


def test_each_fault_has_a_line_with_what_each_run_made_of_it() -> None:
    first = {
        "seed": 7,
        "commit": "abc",
        "rows": [row("host lost", 1_000.4), row("one backend killed", None, lost_count=2)],
    }
    second = {"seed": 8, "commit": "abc", "rows": [row("host lost", 900.0, late=["900 ms are too many"])]}
    text = page([first, second], "Two cores.")
    assert "| host lost | 1000, 900 | 0 | 0 | 1.3, 1.3 | good, late: 900 ms are too many |" in text
    assert "| one backend killed | never, - | 2 | 0 | 1.3, - | good, - |" in text
    assert "- run 1: commit abc, seed 7: 2 of 2 as they must be" in text
    assert "- run 2: commit abc, seed 8: 0 of 1 as they must be" in text
