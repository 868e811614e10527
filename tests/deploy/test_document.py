"""The figures that people read are those that a command measured."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.bench import document, kinds
from deploy.bench.calm import Calm
from deploy.bench.floor import Floor
from deploy.bench.kinds import Kind
from deploy.bench.page_of_run import section
from deploy.bench.report import Report, as_json
from deploy.bench.rounds import Run

FLOOR = Floor({"kill": [{"total": 100.0}], "switchover": [{"total": 120.0}]})


def evidence(began: str, *played: Kind, **setting: object) -> dict[str, Any]:
    told = {
        "began": began, "commit": "abc1234567", "cores": 2, "kernel": "6.1", "load_average": 0.3, "postgres": "15.18",
        "etcd": "3.4.23", "members": 3, "data_gib": 0.0, "behind_mib": 0, "profile": "default", **setting,
    }  # fmt: skip
    runs = []
    for kind in played:
        run = Run(kind.name, 1, kind.name, "a", "control1", 240.0, profile="default")
        if not kind.moves:
            run.calm = Calm(12.0, 11.0, 0)
        runs.append(run)
    return as_json(Report(1, told, FLOOR, runs, kinds=played))


def test_the_page_of_figures_is_what_its_evidence_says() -> None:
    found = document.read()
    if not found:
        pytest.fail("docs/evidence has no *-bench.json: make bench ARGS='--json docs/evidence/…-bench.json'")
    wanted = document.text(found, document.read_scale())
    assert document.DOCUMENT.read_text() == wanted, "run: python -m deploy.bench.document"


def test_the_newest_run_of_each_circumstances_is_shown_and_plain_ones_first() -> None:
    found = {
        "old": evidence("2026-11-01", kinds.HOST_LOST),
        "five": evidence("2026-11-04", kinds.HOST_LOST, members=5),
        "new": evidence("2026-11-03", kinds.HOST_LOST, kinds.SWITCHOVER),
        "newest major": evidence("2026-11-02", kinds.HOST_LOST, postgres="18.6"),
    }
    assert document.shown(found) == ["new", "newest major", "five"]


def test_a_run_of_some_faults_does_not_hide_an_older_one_of_all() -> None:
    found = {
        "all": evidence("2026-11-01", kinds.HOST_LOST, kinds.SWITCHOVER),
        "some": evidence("2026-11-02", kinds.SWITCHOVER),
    }
    assert sorted(document.shown(found)) == ["all", "some"]


def test_a_section_says_when_on_what_and_beside_what_it_was_measured() -> None:
    said = section("x.json", evidence("2026-11-01T10:00:00Z", kinds.SWITCHOVER, data_gib=10.0))
    assert said.startswith("## Three members, 10 GiB of data, PostgreSQL 15\n")
    for word in (
        "2026-11-01T10:00:00Z",
        "commit abc1234567",
        "2 cores",
        "kernel 6.1",
        "PostgreSQL 15.18",
        "average 0.3",
    ):
        assert word in said
    assert "| switchover | 1 | 0 | 240 | 240 | 120 | 2.0 | 2.5 x floor | yes |" in said


def test_a_section_of_the_first_runs_takes_its_commit_from_its_name_and_today_s_aims() -> None:
    found = evidence("2026-11-01", kinds.POSTMASTER_KILLED, postgres="/usr/lib/postgresql/15/bin")
    for key in ("commit", "members", "data_gib", "behind_mib", "profile"):
        del found["setting"][key]
    found["figures"][0] |= {"aim": "4 x floor", "median_ms": 390.0, "ratio": 3.9}
    said = section("2026-11-01-6b2c6fd-bench.json", found)
    assert "commit 6b2c6fd," in said
    assert "| 100 | 3.9 | 2.5 x floor | no |" in said


def test_a_section_shows_both_gaps_where_nothing_must_be_noticed() -> None:
    said = section("x.json", evidence("2026-11-01", kinds.AGENT_KILLED))
    assert "agent killed: 240 ms under it, 11 ms before it, 0 reconnects" in said


def test_a_section_says_who_took_over_where_a_standby_was_behind() -> None:
    found = evidence("2026-11-01", kinds.HOST_LOST, behind_mib=512)
    found["figures"][0] |= {"another_count": 19, "behind_count": 1}
    assert "| host lost | 19 | 1 |" in section("x.json", found)
