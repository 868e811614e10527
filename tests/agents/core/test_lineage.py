"""What fits below whom, and what is damage (R1, R9)."""

from __future__ import annotations

import pytest

from agents.core.lineage import is_damaged, misfit
from agents.core.steps import EndOfWal
from common.assignment import HistoryStep, Position
from common.lsn import Lsn
from orchestrator.core.lineage_check import misfits

_HISTORY = (HistoryStep(1, Lsn(100)), HistoryStep(2, Lsn(200)))


@pytest.mark.covers("T14")
@pytest.mark.parametrize(
    ("timeline", "end", "fits"),
    [
        pytest.param(4, 9_999, True, id="the_same_timeline"),
        pytest.param(2, 200, True, id="exactly_the_switch_point"),
        pytest.param(2, 201, False, id="one_byte_past_it"),
        pytest.param(1, 100, True, id="an_older_one"),
        pytest.param(1, 150, False, id="past_an_older_one"),
        pytest.param(3, 1, False, id="a_branch_that_never_took_effect"),
    ],
)
def test_a_position_fits_up_to_where_its_timeline_was_left(timeline: int, end: int, fits: bool) -> None:
    position = Position(timeline, Lsn(end))
    assert (misfit(position, 4, _HISTORY) == "") == fits
    assert misfits(position, 4, _HISTORY) != fits, "the leader's own comparison must agree"


@pytest.mark.parametrize(
    ("flushed", "next_end", "damaged"),
    [
        pytest.param(None, None, False, id="unknown_after_a_restart"),
        pytest.param(100, None, False, id="the_end_is_what_was_flushed"),
        pytest.param(140, 228, False, id="a_torn_last_record_ends_beyond"),
        pytest.param(228, 228, True, id="a_whole_record_was_flushed_and_is_gone"),
        pytest.param(140, None, True, id="no_length_is_there"),
    ],
)
def test_a_torn_last_record_is_not_damage(flushed: int | None, next_end: int | None, damaged: bool) -> None:
    end = EndOfWal(1, Lsn(100), None, None if next_end is None else Lsn(next_end))
    assert is_damaged(end, None if flushed is None else Lsn(flushed)) is damaged
