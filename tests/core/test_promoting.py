"""When a promotion counts, and what becomes the lineage (R5, R9)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from common.assignment import HistoryStep
from common.facts import PostgresState, Promotion
from common.ids import MemberName
from common.lsn import ZERO, Lsn
from common.rule import SOLO
from orchestrator.core.phase_promoting import promoting
from orchestrator.core.record import Phase
from tests.core.builders import NOW, POLICY, at, heard, record, view

_BEFORE = (HistoryStep(2, Lsn(500)),)
_FORK = HistoryStep(4, Lsn(1000))
_RECORD = record(
    phase=Phase.PROMOTING,
    candidate=MemberName("b"),
    candidate_position=at(1000, timeline=4),
    history=_BEFORE,
    timeline_max=5,
    rules=(SOLO,),
)
"""b is on timeline 4, of a promotion that was given up: the record knows the history of 3 alone."""


@pytest.mark.parametrize(
    ("history", "is_taken"),
    [
        pytest.param((*_BEFORE, HistoryStep(3, Lsn(800)), _FORK), True, id="measured_after_the_promotion"),
        pytest.param((*_BEFORE, HistoryStep(3, Lsn(800))), False, id="that_of_the_standby_it_was"),
        pytest.param((HistoryStep(4, Lsn(900)),), False, id="another_fork"),
        pytest.param((), False, id="not_measured_yet"),
    ],
)
def test_a_lineage_that_the_record_does_not_know_is_taken_only_with_its_fork(
    history: tuple[HistoryStep, ...], is_taken: bool
) -> None:
    """Without it, members that are past the fork would be attached as they are (R9)."""
    done = Promotion(3, 5, Lsn(1000), Lsn(1100))
    primary = heard("b", postgres=PostgresState.PRIMARY, promotion=done, timeline=5, history=history)
    move = promoting(_RECORD, view(primary, of=_RECORD), NOW, POLICY)
    assert (move.record is not None and move.record.phase is Phase.STABLE) is is_taken
    assert not is_taken or (move.record is not None and move.record.history == history)


@pytest.mark.parametrize(
    ("postgres", "first_commit_lsn", "counts"),
    [
        pytest.param(PostgresState.PRIMARY, Lsn(1100), True, id="it_has_committed"),
        pytest.param(PostgresState.PRIMARY, ZERO, False, id="r_new_is_not_in_force_yet"),
        pytest.param(PostgresState.STANDBY, Lsn(1100), False, id="not_seen_as_a_primary_yet"),
        pytest.param(PostgresState.DYING, Lsn(1100), False, id="it_died_meanwhile"),
    ],
)
def test_a_promotion_counts_once_a_primary_has_committed(
    postgres: PostgresState, first_commit_lsn: Lsn, counts: bool
) -> None:
    known = replace(_RECORD, candidate_position=at(1000, timeline=3))
    done = Promotion(3, 5, Lsn(1000), first_commit_lsn)
    move = promoting(
        known, view(heard("b", postgres=postgres, promotion=done, timeline=5), of=known), NOW, POLICY
    )
    assert (move.record is not None and move.record.phase is Phase.STABLE) is counts
