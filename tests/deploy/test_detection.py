"""The bench of detection: its arithmetic, and that the page says what the evidence does."""

from __future__ import annotations

import pytest

from common.profile import PROFILES
from deploy.bench.kinds import HOST_LOST, POSTGRES_FROZEN
from deploy.bench.rounds import Run
from deploy.bench.suspicions import Outcome
from deploy.detection import document
from deploy.detection.account import alarms, detected
from deploy.detection.beats import (
    at_every_node_ms,
    at_pace_since_us,
    at_the_worst_node_ms,
    longest_silence_ms,
    period_ms,
    read_arrivals,
)
from deploy.detection.document import Evidence, newest_of_each
from deploy.detection.spell import Spell
from deploy.detection.switching import with_profile


def run_of(profile: str, kind: str, left_ms: float | None, outage_ms: float | None, failed: str = "") -> Run:
    steps = [("suspected", 610.0), ("sealing", left_ms)] if left_ms is not None else []
    return Run(
        kind, 1, kind, "a", "control1", outage_ms, steps=steps, detected_after_ms=left_ms, profile=profile, failed=failed
    )  # fmt: skip


def spell_of(condition: str = "busy", **seen: object) -> Spell:
    spell = Spell("fast", condition, 30.0, "a")
    for name, value in seen.items():
        setattr(spell, name, value)
    return spell


def test_the_edges_of_the_time_count_as_arrivals() -> None:
    assert longest_silence_ms([20_000, 30_000, 90_000], 0, 100_000) == 60.0
    assert longest_silence_ms([20_000], 0, 100_000) == 80.0
    assert longest_silence_ms([], 0, 100_000) == 100.0
    assert longest_silence_ms([-5_000, 150_000], 0, 100_000) == 100.0


def test_silence_at_every_node_is_shorter_than_at_the_worst_one() -> None:
    arrivals = {"control1": [10_000, 80_000], "control2": [40_000], "control3": [60_000, 95_000]}
    assert at_the_worst_node_ms(arrivals, 0, 100_000) == 70.0
    assert at_every_node_ms(arrivals, 0, 100_000) == 30.0


def test_the_usual_period_is_not_moved_by_one_beat_that_came_at_once() -> None:
    assert period_ms([0, 100_000, 102_000, 200_000, 300_000, 400_000], 0, 500_000) == 100.0
    assert period_ms([100_000], 0, 500_000) is None


def test_a_listener_s_journal_is_read_by_sender_without_a_half_written_line() -> None:
    assert read_arrivals(["5 10.77.10.1\n", "6 10.77.10.2\n", "9 10.77.10.1\n", "12 10.7"]) == {
        "10.77.10.1": [5, 9],
        "10.77.10.2": [6],
    }


def test_detection_is_summed_up_by_profile_and_fault_and_a_failed_run_counts() -> None:
    runs = [
        run_of("fast", HOST_LOST.name, 400.0, 900.0),
        run_of("fast", HOST_LOST.name, 500.0, 1_300.0),
        run_of("fast", HOST_LOST.name, None, None, failed="never"),
        run_of("fast", POSTGRES_FROZEN.name, 990.0, 1_500.0),
        run_of("patient", HOST_LOST.name, 2_500.0, 3_100.0),
    ]
    found = detected("fast", HOST_LOST.name, runs)
    assert found is not None
    assert (found.run_count, found.failed_count) == (3, 1)
    assert (found.suspected_median_ms, found.left_median_ms, found.left_maximum_ms) == (610.0, 450.0, 500.0)
    assert (found.outage_median_ms, found.outage_maximum_ms) == (1_100.0, 1_300.0)
    assert detected("default", HOST_LOST.name, runs) is None


def test_alarms_are_summed_up_and_a_false_failover_is_no_suspicion_that_came_to_nothing() -> None:
    spells = [
        spell_of(
            suspicions={Outcome.SPOKE_AGAIN: 2, Outcome.FAILOVER: 1},
            false_failovers=1,
            causes=("PrimaryHostLost: a",),
            silence_at_a_node_ms=420.0,
            client_gap_ms=800.0,
        ),
        spell_of(suspicions={Outcome.HEARD_ELSEWHERE: 1}, silence_everywhere_ms=90.0, client_gap_ms=50.0),
        spell_of("quiet", suspicions={Outcome.SPOKE_AGAIN: 7}),
    ]
    found = alarms("fast", "busy", spells)
    assert found is not None
    assert (found.minutes, found.false_failovers, found.suspicions) == (1.0, 1, 3)
    assert dict(found.suspicions_by_outcome) == {Outcome.SPOKE_AGAIN: 2, Outcome.HEARD_ELSEWHERE: 1}
    assert (found.silence_at_a_node_ms, found.silence_everywhere_ms) == (420.0, 90.0)
    assert (found.client_gap_ms, found.causes) == (800.0, ("PrimaryHostLost: a",))


def test_a_profile_is_changed_in_the_cluster_s_file_and_nothing_else() -> None:
    text = 'name = "shop"\nprofile = "default"\nk = 1\n'
    assert with_profile(text, "fast") == text.replace("default", "fast")
    with pytest.raises(ValueError, match="0 times"):
        with_profile('name = "shop"\n', "fast")


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_known_by_the_pace_of_a_primary_s_beats(name: str) -> None:
    every_us = PROFILES[name].beat_primary_every_ms * 1_100
    at = [n * every_us for n in range(8)]
    assert [other for other, p in PROFILES.items() if at_pace_since_us(at, p.beat_primary_every_ms)] == [name]
    assert at_pace_since_us(at[:5], PROFILES[name].beat_primary_every_ms) is None


def test_a_new_pace_holds_since_the_first_beat_of_it_whatever_came_at_once() -> None:
    at = [0, 100_000, 200_000, 450_000, 700_000, 705_000, 955_000]
    assert at_pace_since_us(at, 250) == 200_000
    assert at_pace_since_us([0, 250_000, 500_000, 750_000, 850_000, 950_000, 1_050_000], 100) == 750_000


def evidence_of(**more: object) -> dict[str, object]:
    return {
        "setting": {
            "began": "2026-11-28T18:00:00Z", "commit": "abc", "cores": 2, "memory_mib": 24_000, "kernel": "6",
            "load_average": 1.5, "postgres": "/usr/lib/postgresql/15/bin", "etcd": "3.4.23", "beside": "a soak",
        },
        "switched_after_s": {"fast": 1.2},
        "runs": [], "spells": [], "acknowledged": 9, "lost": [], "second_writes": [], "complaints": [], "took_s": 60,
        **more,
    }  # fmt: skip


def spell_in_json(profile: str, **more: object) -> dict[str, object]:
    return {"profile": profile, "condition": "20 % loss", "seconds": 60.0, "primary": "a", **more}


def page_of(*evidence: dict[str, object]) -> str:
    named = [Evidence(f"{number}.json", found) for number, found in enumerate(evidence)]
    return document.text(newest_of_each(named), named)


def test_the_page_says_what_was_taken_for_a_loss_for_nothing_and_why() -> None:
    spell = spell_in_json(
        "fast",
        false_failovers=1,
        causes=["PrimaryHostLost: a: silent"],
        suspicions={"it spoke again": 4},
        silence_at_a_node_ms=345.6,
    )
    page = page_of(evidence_of(spells=[spell]))
    assert "| 20 % loss | `fast` | 1.0 | 1 | 4 | 346 |" in page
    assert "`fast`, 20 % loss: **false failover**: PrimaryHostLost: a: silent." in page
    assert "it spoke again (4)" in page
    assert "FAILED" not in page
    assert "FAILED: two rows" in page_of(evidence_of(spells=[spell], complaints=["two rows"]))


def test_of_each_profile_the_newest_run_that_measured_it_counts() -> None:
    older = evidence_of(
        spells=[spell_in_json("fast", false_failovers=9), spell_in_json("default", false_failovers=2)]
    )
    newer = evidence_of(spells=[spell_in_json("fast", false_failovers=1)])
    newer["setting"] = {**dict(older["setting"]), "began": "2026-11-28T19:00:00Z"}  # type: ignore[call-overload]
    page = page_of(newer, older)
    assert "| 20 % loss | `fast` | 1.0 | 1 |" in page
    assert "| 20 % loss | `default` | 1.0 | 2 |" in page
    assert "| 20 % loss | `fast` | 1.0 | 9 |" not in page
    assert "Before, `fast` in [1.json]" in page, "what a newer run took the place of is not hidden"
    assert "false failovers by condition: 20 % loss 9" in page
    assert "`default`: 2026-11-28T18:00:00Z" in page


def test_a_profile_that_the_cluster_was_born_with_was_not_changed_to() -> None:
    spell = spell_in_json("fast")
    assert "`fast` 1.2 s" not in page_of(evidence_of(spells=[spell]))
    both = {"fast": 1.2, "default": 3.4}
    assert "`fast` 1.2 s" in page_of(evidence_of(spells=[spell], switched_after_s=both))


def test_the_page_of_detection_is_what_its_evidence_says() -> None:
    chosen = newest_of_each(document.all_evidence())
    assert set(chosen) == set(PROFILES), "make bench-detection ARGS='--json docs/evidence/…-detection.json'"
    assert document.DOCUMENT.read_text() == document.text(chosen, document.all_evidence()), (
        "run: python -m deploy.detection.document"
    )
