"""Suspicions as a control node's log tells them; the lines are those of real runs."""

from __future__ import annotations

import json
from typing import Any

from deploy.bench.suspicions import Outcome, departures, suspicions

SILENT = "silent for 602 ms, the threshold is 600 ms"


def line(second: int, *reasons: str, because: str = "", cluster: str = "shop", **more: Any) -> str:
    event = "decision.taken" if "phase" in more else "decision.reasons_changed"
    entry = {
        "program": "orchestrator", "node": "control1", "cluster": cluster, "reasons": list(reasons),
        "because": [because] if because else [], **more, "event": event, "level": "info",
        "timestamp": f"2026-11-28T15:53:{second:02d}.978453Z",
    }  # fmt: skip
    return json.dumps(entry) + "\n"


def outcomes(*lines: str) -> list[Outcome]:
    return [one.outcome for one in suspicions(lines, "shop")]


def test_a_suspicion_says_when_it_began_and_how_long_the_silence_was() -> None:
    (found,) = suspicions(
        [
            line(40, "primary_late"),
            line(41, "primary_suspected", because=SILENT),
            line(42, "primary_healthy"),
        ],
        "shop",
    )
    assert (found.silent_ms, found.threshold_ms, found.outcome) == (602, 600, Outcome.SPOKE_AGAIN)
    assert found.at_wall_ms == 1_795_881_221_978


def test_what_a_witness_said_is_what_came_of_it() -> None:
    suspected = line(41, "primary_suspected", because=SILENT)
    well = line(43, "primary_healthy")
    assert outcomes(suspected, line(42, "agent_lost"), well) == [Outcome.POSTGRES_ANSWERS]
    assert outcomes(suspected, line(42, "witness_disagrees"), well) == [Outcome.STREAMS]
    assert outcomes(suspected, line(42, "control_path_cut"), line(42, "agent_lost"), well) == [
        Outcome.HEARD_ELSEWHERE
    ]
    both = line(41, "agent_lost", "observer_doubts_itself")
    assert outcomes(suspected, both, well) == [Outcome.DOUBTED_ITSELF]
    assert outcomes(line(41, "observer_doubts_itself"), well) == [Outcome.DOUBTED_ITSELF]


def test_two_in_a_row_are_two() -> None:
    suspected, well = line(41, "primary_suspected", because=SILENT), line(43, "primary_late")
    assert outcomes(suspected, well, suspected, well) == [Outcome.SPOKE_AGAIN] * 2


def test_one_that_led_to_a_failover_is_told_apart() -> None:
    suspected = line(41, "primary_suspected", because=SILENT)
    left = line(42, "primary_host_lost", phase="SEALING", epoch=8)
    later = line(43, "seals_awaited", phase="SEALING", epoch=8)
    assert outcomes(suspected, left, later, line(44, "primary_healthy")) == [Outcome.FAILOVER]


def test_a_failover_without_silence_is_no_suspicion() -> None:
    assert outcomes(line(41, "primary_cant_write", phase="SEALING", epoch=8)) == []


def test_another_cluster_s_and_what_is_no_decision_are_left_out() -> None:
    assert outcomes(
        line(41, "primary_suspected", cluster="other"),
        "[lab] control1/orchestrator ended with SIGKILL; again in 0.2 s\n",
        '{"event": "decision.taken", "cluster": "shop", "reas',
        line(42, "primary_healthy"),
    ) == []  # fmt: skip


def test_one_that_still_lasts_counts() -> None:
    assert outcomes(line(41, "primary_suspected", because=SILENT)) == [Outcome.SPOKE_AGAIN]


def test_an_epoch_that_was_left_says_why_once() -> None:
    lines = [
        line(41, "primary_cant_write", because="no commit was flushed", phase="SEALING", epoch=8),
        line(42, "seal_noted", phase="SEALING", epoch=8),
        line(43, "promoted", phase="STABLE", epoch=8),
        line(44, "primary_crashed", phase="SEALING", epoch=9),
    ]
    assert [(one.epoch, one.why) for one in departures(lines, "shop")] == [
        (8, "primary_cant_write: no commit was flushed"),
        (9, "primary_crashed: "),
    ]
