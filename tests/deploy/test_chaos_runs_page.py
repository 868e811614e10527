"""Several runs of the chaos suite on one page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.runs_page import MACHINE, kept, main, page

EVIDENCE = Path(__file__).parent.parent.parent / "docs" / "evidence"


def row(name: str, outage_ms: float | None, **more: Any) -> dict[str, Any]:
    hearing = {"acknowledged_count": 100, "in_doubt_visible_count": 1, "reads": "long"}
    known = {
        "outage_multihost_ms": 1.0,
        "lost_count": 0,
        "second_writer_count": 0,
        "whole_after_s": 1.26,
        "complaints": [],
        "late": [],
        "took_s": 9.0,
        "load_average": 1.0,
        "evidence": "",
        "observed": {
            "hearing": hearing,
            "history_text": "long",
            "canary": {"outage_ms": 940, "resolution_ms": 20, "at_least": False},
        },
    }
    return {"name": name, "outage_dns_ms": outage_ms, **known, **more}


def run(seed: int, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"schema": 2, "seed": seed, "commit": "abcdef1234", "began": "2026-12-01T10:00:00+00:00", "took_s": 90.0,
            "rows": list(rows)}  # fmt: skip


FIRST = run(7, row("host lost", 1_000.4), row("one backend killed", None, lost_count=2))
SECOND = run(8, row("host lost", 900.0, late=["900 ms are too many"]))


def test_each_fault_has_a_line_with_what_each_run_made_of_it() -> None:
    text = page({"a.json": kept(FIRST), "b.json": kept(SECOND)}, "Two cores.")
    assert "| host lost | 1000, 900 | 0 | 0 | 1.3, 1.3 | good, late: 900 ms are too many |" in text
    assert "| one backend killed | never, - | 2 | 0 | 1.3, - | good, - |" in text
    began = "began 2026-12-01T10:00:00+00:00, commit abcdef1234"
    assert f"- run 1: {began}, seed 7: 2 of 2 as they must be, in 1.5 minutes" in text
    assert f"- run 2: {began}, seed 8: 0 of 1 as they must be, in 1.5 minutes" in text
    assert "300 rows were acknowledged; 3 are there that were not" in text
    assert "The canary told 2 outages from beginning to end: 1 within 50 ms" in text


def test_runs_are_kept_without_what_was_said_and_the_page_names_their_files(tmp_path: Path) -> None:
    for number, one in enumerate((FIRST, SECOND)):
        (tmp_path / f"{number}.json").write_text(json.dumps(one))
    into = tmp_path / "evidence"
    into.mkdir()
    assert main([str(tmp_path / "0.json"), str(tmp_path / "1.json"), "--into", str(into)]) == 0
    names = sorted(file.name for file in into.iterdir())
    assert names == ["2026-12-01-abcdef1-a-chaos.json", "2026-12-01-abcdef1-b-chaos.json", "chaos.md"]
    assert "long" not in (into / names[0]).read_text()
    assert all(name in (into / "chaos.md").read_text() for name in names[:2])


def test_the_page_of_the_newest_runs_is_made_of_the_files_that_it_names() -> None:
    told = (EVIDENCE / "chaos.md").read_text()
    names = list(dict.fromkeys(re.findall(r"\(([\w.-]+-chaos\.json)\)", told)))
    if not names:
        pytest.skip("the runs on the page were made before files were kept")
    assert told == page({name: json.loads((EVIDENCE / name).read_text()) for name in names}, MACHINE)
