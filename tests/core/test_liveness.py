"""When silence is suspicious, at its exact borders."""

from __future__ import annotations

import random

import pytest

from common.ids import MemberName
from common.profile import DEFAULT, PROFILES, Profile
from common.timebase import Instant, after_ms, elapsed_ms
from orchestrator.core.events import BeatHeard
from orchestrator.core.liveness import (
    Liveness,
    classify,
    patience_times,
    threshold_ms,
    until_silent_ms,
    with_gap,
)
from orchestrator.core.observe import observe
from orchestrator.core.view import MemberView
from tests.core.builders import NOW, heard, view
from tests.orchestrator.beats import beat

_EVERY_MS = DEFAULT.beat_primary_every_ms


def _heard_us_ago(
    silence_us: int, *, gap_us: int = 0, gap_deviation_us: int = 0
) -> tuple[MemberView, Instant]:
    now = Instant(1_000_000_000)
    return MemberView(
        MemberName("a"), heard_at=Instant(now - silence_us), gap_us=gap_us, gap_deviation_us=gap_deviation_us
    ), now


@pytest.mark.parametrize(
    ("silence_us", "expected"),
    [
        pytest.param(199_999, Liveness.ALIVE, id="just_before_late"),
        pytest.param(200_000, Liveness.LATE, id="late_starts_here"),
        pytest.param(599_999, Liveness.LATE, id="just_before_silent"),
        pytest.param(600_000, Liveness.SILENT, id="silent_starts_here"),
    ],
)
def test_silence_is_classified_at_its_exact_borders(silence_us: int, expected: Liveness) -> None:
    member, now = _heard_us_ago(silence_us)
    assert classify(member, now, DEFAULT, expected_every_ms=_EVERY_MS) is expected


def test_who_was_never_heard_is_not_called_silent() -> None:
    member = MemberView(MemberName("a"))
    assert classify(member, Instant(5), DEFAULT, expected_every_ms=_EVERY_MS) is Liveness.NEVER_HEARD


def test_an_irregular_speaker_gets_longer_but_never_more_than_the_ceiling() -> None:
    member, _ = _heard_us_ago(0, gap_us=100_000, gap_deviation_us=25_000)
    assert threshold_ms(member, DEFAULT, expected_every_ms=_EVERY_MS) == 800
    member, _ = _heard_us_ago(0, gap_us=100_000, gap_deviation_us=9_000_000)
    assert threshold_ms(member, DEFAULT, expected_every_ms=_EVERY_MS) == DEFAULT.suspect_ceiling_ms


def test_a_slower_beat_moves_the_borders_up() -> None:
    member, _ = _heard_us_ago(0)
    assert (
        threshold_ms(member, DEFAULT, expected_every_ms=500) == 2_000 - 200
    )  # the ceiling, moved by 2 x 400


def test_a_steady_rhythm_is_learned() -> None:
    gap_us, deviation_us = 0, 0
    for _ in range(100):
        gap_us, deviation_us = with_gap(gap_us, deviation_us, 100_000)
    assert gap_us == 100_000
    assert deviation_us < 1_000


def test_who_speaks_early_is_not_irregular() -> None:
    """A standby's slow beat became a primary's; and some beats are sent at once, because something happened."""
    gap_us, deviation_us = 500_000, 0
    for sample_us in [100_000, 100_000, 20_000, 80_000] * 10:
        gap_us, deviation_us = with_gap(gap_us, deviation_us, sample_us)
    member, _ = _heard_us_ago(0, gap_us=gap_us, gap_deviation_us=deviation_us)
    assert threshold_ms(member, DEFAULT, expected_every_ms=_EVERY_MS) <= DEFAULT.suspect_floor_ms


def test_one_looks_again_at_the_moment_when_silence_becomes_suspicious() -> None:
    member, now = _heard_us_ago(250_000)
    left_ms = until_silent_ms(member, now, DEFAULT, expected_every_ms=_EVERY_MS)
    assert left_ms == DEFAULT.suspect_floor_ms - 250
    for silence_us, expected in ((599_000, Liveness.LATE), (600_000, Liveness.SILENT)):
        member, now = _heard_us_ago(silence_us)
        assert classify(member, now, DEFAULT, expected_every_ms=_EVERY_MS) is expected
    assert until_silent_ms(member, now, DEFAULT, expected_every_ms=_EVERY_MS) is None
    assert until_silent_ms(MemberView(MemberName("a")), now, DEFAULT, expected_every_ms=_EVERY_MS) is None


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_a_fifth_of_all_beats_lost_is_seen_as_loss_at_nearly_every_moment(profile: Profile) -> None:
    """One moment without is enough for a failover over a primary that is only slow (seen on real hosts, twice)."""
    dice, seen, moments, unseen = random.Random(7), heard("a"), 0, 0
    view_of = view(seen)
    for number in range(1, 1_200_000 // profile.beat_primary_every_ms):
        if dice.random() < 0.2:
            continue
        at = after_ms(NOW, number * profile.beat_primary_every_ms)
        view_of = observe(view_of, BeatHeard(at, beat("a", sequence=number), 1))
        if elapsed_ms(since=NOW, now=at) >= 20_000:
            moments += 1
            unseen += patience_times(view_of.member(MemberName("a")), at) == 1
    assert unseen <= moments // 200, f"{unseen} of {moments} moments"
