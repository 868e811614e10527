"""AttachTruth finds who attaches and has diverged, or lacks a history file (R9), and a parent that is none (R11)."""

from __future__ import annotations

import pytest

from tests.simulator.broken import SECOND_US, fail_over, record_of, rows, run, until, whole_fleet
from tests.simulator.model_parts import HistoryFile
from tests.simulator.violation import Violation


def test_r9_who_attaches_without_a_history_file_is_found() -> None:
    fleet = whole_fleet()
    rows(fleet)
    upstream = fleet.postgres[fail_over(fleet)]
    with pytest.raises(Violation, match=r"^R9: a attaches to [bc] without the history of 2"):
        fleet.attach_truth.connects(fleet.postgres["a"], upstream, 2)


def test_r9_who_attaches_and_has_diverged_is_found_though_timeline_and_position_fit() -> None:
    fleet = whole_fleet()
    rows(fleet)
    old = fleet.postgres["a"]
    upstream = fleet.postgres[fail_over(fleet)]
    fleet.next_row += 1
    old.append(fleet.next_row)
    rows(fleet, 8)
    old.histories[2] = HistoryFile(False, upstream.history)
    with pytest.raises(Violation, match=r"^R9: a attaches to [bc], and has diverged from it"):
        fleet.attach_truth.connects(old, upstream, 2)


def test_r11_a_promotion_that_writes_a_remembered_target_as_its_parent_is_found() -> None:
    fleet = whole_fleet()
    rows(fleet)
    fleet.kill_postmaster("a")
    until(fleet, lambda: record_of(fleet).phase == "PROMOTING")
    for name in ("b", "c"):
        fleet.postgres[name].target = 7
    with pytest.raises(
        Violation, match=r"^R11: [bc] is promoted from .*, and the history of 2 says \[1, 7\]"
    ):
        run(fleet, 5 * SECOND_US)
