"""The arithmetic of the canary's gaps, at its borders and against a dumb twin."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.timebase import Instant, after_ms
from orchestrator.core.gaps import PERIOD_MS, Acknowledgements, Gap, acknowledged, open_gap, turned_away

START = Instant(1_000_000)


def at_ms(ms: int) -> Instant:
    return after_ms(START, ms)


def answered(state: Acknowledgements, ms: int, *, stalled_us: int = 0) -> tuple[Acknowledgements, Gap]:
    return acknowledged(state, at_ms(ms), stalled_us=stalled_us)


def written(*at: int, stalled_us: int = 0) -> tuple[Acknowledgements, list[Gap]]:
    """Acknowledged at these milliseconds."""
    state, gaps = Acknowledgements(START), list[Gap]()
    for ms in at:
        state, gap = answered(state, ms, stalled_us=stalled_us)
        gaps.append(gap)
    return state, gaps


def test_a_gap_reaches_from_one_acknowledgement_to_the_next() -> None:
    _, gaps = written(5, 25, 1_275)
    assert [(gap.length_ms, gap.seen_whole) for gap in gaps] == [(5, False), (20, True), (1_250, True)]


def test_what_began_before_the_canary_did_was_not_seen_whole() -> None:
    state = Acknowledgements(START)
    goes_on = open_gap(state, at_ms(700), stalled_us=0)
    assert (goes_on.length_ms, goes_on.seen_whole) == (700, False)
    assert not answered(state, 900, stalled_us=0)[1].seen_whole


@pytest.mark.parametrize(
    ("turned_away_ms", "expected_ms"),
    [
        pytest.param(None, PERIOD_MS, id="nobody_was_turned_away"),
        pytest.param(1_000 - 2 * PERIOD_MS, PERIOD_MS, id="the_last_refusal_was_just_before"),
        pytest.param(1_000 - 2 * PERIOD_MS - 1, PERIOD_MS + 1, id="and_a_little_earlier"),
        pytest.param(750, 230, id="a_connect_hung_for_long"),
    ],
)
def test_the_resolution_is_a_period_or_how_long_the_canary_was_blind_at_the_end(
    turned_away_ms: int | None, expected_ms: int
) -> None:
    state, _ = written(0)
    if turned_away_ms is not None:
        state = turned_away(state, at_ms(turned_away_ms), stalled_us=0)
    assert answered(state, 1_000, stalled_us=0)[1].resolution_ms == expected_ms


def test_another_client_may_have_been_served_while_the_attempt_that_ended_the_gap_took_its_time() -> None:
    """A chaos run on a busy machine: the canary's own attempt took 40 ms, its witness's 5, and they were 54 ms apart."""
    state = turned_away(written(0)[0], at_ms(328), stalled_us=0)
    _, gap = answered(state, 388)
    assert (gap.length_ms, gap.resolution_ms) == (388, 2 * PERIOD_MS)


def test_a_stall_of_the_canary_s_own_process_is_no_outage_of_the_cluster() -> None:
    state, _ = written(0, stalled_us=7_000)
    _, gap = answered(state, 2_000, stalled_us=7_000 + 1_970_000)
    assert (gap.length_ms, gap.resolution_ms, gap.at_least_ms) == (2_000, 1_990, 30)


def test_a_stall_between_two_failures_changes_neither_end_of_the_gap() -> None:
    state = written(0, stalled_us=1_000)[0]
    for ms, counted_us in ((100, 31_000), (500, 331_000), (700, 431_000)):
        state = turned_away(state, at_ms(ms), stalled_us=counted_us)
    _, gap = answered(state, 740, stalled_us=443_000)
    assert (gap.stalled_us, gap.resolution_ms) == (30_000 + 12_000, PERIOD_MS + 42)


def test_only_the_newest_failed_attempt_counts_and_only_until_the_next_acknowledgement() -> None:
    state, _ = written(0)
    for ms in (100, 300, 200):
        state = turned_away(state, at_ms(ms), stalled_us=0)
    state, gap = answered(state, 400, stalled_us=0)
    assert gap.turned_away_at == at_ms(300)
    assert answered(state, 420, stalled_us=0)[1].turned_away_at is None


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=60))
def test_gaps_are_the_differences_of_the_acknowledgements_and_leave_nothing_out(steps_ms: list[int]) -> None:
    at, times = 0, list[int]()
    for step in steps_ms:
        at += step
        times.append(at)
    state, gaps = written(*times)
    twin = [after - before for before, after in pairwise([0, *times])]
    assert [gap.length_ms for gap in gaps] == twin
    assert sum(gap.length_ms for gap in gaps) == times[-1]
    assert [gap.seen_whole for gap in gaps] == [False, *[True] * (len(times) - 1)]
    assert state.last_at == at_ms(times[-1])


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 12_000_000))
def test_a_resolution_is_never_below_a_period_nor_above_the_gap(
    length_ms: int, turned_away_ms: int, stalled_us: int
) -> None:
    state, _ = written(0)
    if turned_away_ms <= length_ms:
        state = turned_away(state, at_ms(turned_away_ms), stalled_us=0)
    _, gap = answered(state, length_ms, stalled_us=stalled_us)
    assert PERIOD_MS <= gap.resolution_ms <= max(PERIOD_MS, gap.length_ms)
