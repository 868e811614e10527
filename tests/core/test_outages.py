"""Which outage an incident is told: the longest gap that touches it, and what is honest about a part of one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.timebase import Instant, after_ms
from orchestrator.core.gaps import Gap
from orchestrator.core.outages import STILL_AFTER_MS, TOLD_FROM_MS, WINDOWS_MAX, Windows, heard, met, still

START = Instant(1_000_000)


def at_ms(ms: int) -> Instant:
    return after_ms(START, ms)


def gap(began_ms: int, ended_ms: int, *, seen_whole: bool = True) -> Gap:
    return Gap(at_ms(began_ms), at_ms(ended_ms), seen_whole=seen_whole)


def after(*stories: tuple[int, int, str]) -> Windows:
    """(epoch, at, name)"""
    windows: Windows = ()
    for epoch, ms, name in stories:
        windows, _ = heard(windows, epoch, name, at_ms(ms))
    return windows


def told(windows: Windows, gap: Gap) -> list[tuple[int, int, bool]]:
    return [(one.epoch, one.outage_ms, one.at_least) for one in met(windows, gap)[1]]


def test_a_gap_that_began_before_the_first_story_belongs_to_the_incident() -> None:
    assert told(after((7, 1_000, "sealing")), gap(100, 1_400)) == [(7, 1_300, False)]


@pytest.mark.parametrize(
    ("began_ms", "ended_ms", "belongs"),
    [
        pytest.param(0, 999, False, id="over_before_it_began"),
        pytest.param(0, 1_000, True, id="over_as_it_began"),
        pytest.param(3_000, 4_000, True, id="begun_as_it_ended"),
        pytest.param(3_001, 4_000, False, id="begun_when_it_was_over"),
        pytest.param(0, 9_000, True, id="around_it"),
    ],
)
def test_a_gap_belongs_to_the_incident_that_it_touches(began_ms: int, ended_ms: int, belongs: bool) -> None:
    windows = after((7, 1_000, "sealing"), (7, 3_000, "whole"))
    assert bool(told(windows, gap(began_ms, ended_ms))) is belongs


def test_a_gap_over_two_epochs_is_told_for_both() -> None:
    windows = after((7, 1_000, "sealing"), (8, 3_000, "candidate given up"))
    assert told(windows, gap(500, 4_000)) == [(7, 3_500, False), (8, 3_500, False)]


def test_only_a_longer_gap_is_told_again() -> None:
    windows, _ = met(after((7, 1_000, "sealing")), gap(900, 1_900))
    assert told(windows, gap(1_900, 2_800)) == []
    assert told(windows, gap(1_900, 3_000)) == [(7, 1_100, False)]


def test_short_gaps_are_told_once_when_the_incident_ends() -> None:
    windows = after((7, 1_000, "sealing"))
    for began_ms, length_ms in ((1_000, 20), (1_020, TOLD_FROM_MS - 1), (1_100, 20)):
        windows, outages = met(windows, gap(began_ms, began_ms + length_ms))
        assert not outages
    windows, outage = heard(windows, 7, "whole", at_ms(2_000))
    assert outage is not None
    assert (outage.epoch, outage.outage_ms, outage.resolution_ms) == (7, TOLD_FROM_MS - 1, 20)
    assert heard(windows, 7, "whole", at_ms(2_100))[1] is None


def test_stories_after_the_end_do_not_open_the_incident_again() -> None:
    windows = after((7, 1_000, "sealing"), (7, 3_000, "whole"), (7, 60_000, "rule change"))
    assert told(windows, gap(60_000, 62_000)) == []


def test_the_birth_of_a_cluster_is_no_incident() -> None:
    assert after((1, 0, "initialising"), (1, 500, "serving")) == ()


@pytest.mark.parametrize("first_story", ["suspected", "sealing", "candidate given up"])
def test_a_leader_that_told_how_it_began_saw_all_of_it(first_story: str) -> None:
    assert told(after((7, 1_000, first_story)), gap(900, 1_400)) == [(7, 500, False)]


@pytest.mark.parametrize("first_story", ["sealed", "promoting", "promoted", "serving"])
def test_a_leader_that_took_over_in_the_middle_saw_only_a_part(first_story: str) -> None:
    assert told(after((7, 1_000, first_story)), gap(900, 1_400)) == [(7, 500, True)]


def test_a_canary_that_began_in_the_middle_saw_only_a_part() -> None:
    assert told(after((7, 1_000, "sealing")), gap(900, 1_400, seen_whole=False)) == [(7, 500, True)]


def test_a_longer_gap_after_one_whose_beginning_nobody_saw_is_no_whole_outage() -> None:
    windows, first = met(after((7, 1_000, "suspected")), gap(1_500, 1_700, seen_whole=False))
    assert [one.at_least for one in first] == [True]
    assert told(windows, gap(2_000, 2_422)) == [(7, 422, True)]


def test_a_short_gap_whose_beginning_nobody_saw_counts_too_though_it_is_never_told() -> None:
    windows, _ = met(after((7, 1_000, "suspected")), gap(900, 1_600))
    windows, none = met(windows, gap(1_690, 1_700, seen_whole=False))
    assert none == ()
    assert told(windows, gap(2_000, 2_900)) == [(7, 900, True)]


def test_a_gap_without_end_is_told_now_and_then_as_a_part() -> None:
    windows, said = after((7, 1_000, "sealing")), list[tuple[int, bool]]()
    for ended_ms in range(1_000, 4 * STILL_AFTER_MS + 1_500, 500):
        windows, outages = still(windows, gap(1_000, ended_ms))
        said += [(one.outage_ms, one.at_least) for one in outages]
    assert said == [(STILL_AFTER_MS, True), (2 * STILL_AFTER_MS, True), (4 * STILL_AFTER_MS, True)]
    assert told(windows, gap(1_000, 200_000)) == [(7, 199_000, False)]


def test_a_story_of_an_older_epoch_changes_nothing() -> None:
    windows = after((7, 1_000, "sealing"))
    assert heard(windows, 6, "whole", at_ms(1_100)) == (windows, None)


@given(
    st.lists(
        st.tuples(st.sampled_from(["gap", "sealing", "serving", "whole"]), st.integers(0, 4_000)),
        max_size=60,
    )
)
def test_an_incident_is_told_its_longest_gap_and_never_a_shorter_one_after_a_longer(
    happened: list[tuple[str, int]],
) -> None:
    """Against a twin that keeps everything: after the end of each incident, its longest gap was told."""
    windows: Windows = ()
    now_ms, epoch, last_ack_ms, first_gap = 0, 1, 0, 0
    spans: dict[int, list[int]] = {}
    gaps: list[tuple[int, int]] = []
    said: dict[int, list[int]] = {}
    for what, ms in happened:
        now_ms += ms
        if what == "gap":
            gaps.append((last_ack_ms, now_ms))
            windows, outages = met(windows, gap(last_ack_ms, now_ms))
            last_ack_ms = now_ms
            for one in outages:
                said.setdefault(one.epoch, []).append(one.outage_ms)
            continue
        if what == "sealing":
            epoch += 1
            if epoch - 1 in spans and len(spans[epoch - 1]) == 1:
                spans[epoch - 1].append(now_ms)
            spans[epoch], first_gap = [now_ms], len(gaps)
        elif what == "whole" and epoch in spans and len(spans[epoch]) == 1:
            spans[epoch].append(now_ms)
        windows, outage = heard(windows, epoch, what, at_ms(now_ms))
        if outage is not None:
            said.setdefault(outage.epoch, []).append(outage.outage_ms)
    assert len(windows) <= WINDOWS_MAX
    for lengths in said.values():
        assert lengths == sorted(set(lengths)), "only longer ones, one after the other"
    newest = spans.get(epoch)
    if newest is not None:
        end_ms = newest[1] if len(newest) > 1 else now_ms
        touching = [b - a for a, b in gaps[first_gap:] if a <= end_ms]
        longest_ms = max(touching, default=0)
        if longest_ms >= TOLD_FROM_MS:
            assert said[epoch][-1] == longest_ms
