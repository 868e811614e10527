"""The deadline of a primary, and when it may let clients in ("Staying up", R8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core.deadline import Deadline
from agents.core.opening import Acknowledged, may_open
from common.lsn import Lsn
from common.timebase import Instant

_S = 1_000_000


def _extended(deadline: Deadline, begun_s: float, now_s: float) -> Deadline:
    return deadline.extended(
        begun_at=Instant(int(begun_s * _S)), lease_ms=5_000, now=Instant(int(now_s * _S)), margin_ms=500
    )


@pytest.mark.covers("T37")
def test_a_deadline_is_counted_from_when_its_reason_began() -> None:
    assert _extended(Deadline(), 10, 11).at == 15 * _S


def test_an_older_reason_that_arrives_late_changes_nothing() -> None:
    known = _extended(Deadline(), 10, 10)
    assert _extended(known, 9, 11) == known


def test_one_that_is_nearer_than_the_margin_is_final() -> None:
    known = Deadline(Instant(15 * _S))
    assert _extended(known, 14, 14.499_999).at == 19 * _S
    assert _extended(known, 14, 14.5) == known
    assert known.is_final(now=Instant(int(14.5 * _S)), margin_ms=500)
    assert not Deadline().is_final(now=Instant(99 * _S), margin_ms=500)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=30))
def test_a_deadline_only_grows_and_a_final_one_stands_still(reasons: list[tuple[int, int]]) -> None:
    deadline, now = Deadline(), 0
    for begun, waited in reasons:
        now += waited
        final = deadline.is_final(now=Instant(now * _S), margin_ms=500)
        after = _extended(deadline, min(begun, now), now)
        assert deadline.at is None or (after.at is not None and after.at >= deadline.at)
        assert not final or after == deadline
        deadline = after


@pytest.mark.covers("S65", "T2")
@pytest.mark.parametrize(
    ("begun", "end", "opens"),
    [
        pytest.param(100, 201, True, id="begun_at_the_start_and_past_both"),
        pytest.param(99, 201, False, id="begun_before_this_start"),
        pytest.param(100, 200, False, id="not_past_the_switch_point"),
        pytest.param(100, 150, False, id="not_past_the_end_of_recovery"),
    ],
)
def test_clients_are_let_in_by_a_commit_of_this_start_past_recovery_and_switch(
    begun: int, end: int, opens: bool
) -> None:
    evidence = Acknowledged(Instant(begun), Lsn(end))
    found = may_open(evidence, started_at=Instant(100), end_of_recovery_lsn=Lsn(150), switch_lsn=Lsn(200))
    assert found is opens


def test_nothing_opens_without_evidence() -> None:
    assert not may_open(None, started_at=Instant(0), end_of_recovery_lsn=Lsn(0), switch_lsn=None)
