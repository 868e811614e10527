"""What a bench says of its runs: figures against aims, and why it ends badly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.bench import kinds
from deploy.bench.calm import Calm
from deploy.bench.floor import Floor
from deploy.bench.kinds import Kind
from deploy.bench.report import Report, as_json, figures_of
from deploy.bench.rounds import Run
from deploy.bench.session import complaints_of, complaints_of_load
from deploy.bench.under_load import UnderLoad

FLOOR = Floor({"kill": [{"total": 100.0}], "switchover": [{"total": 120.0}]})


def run_of(kind: Kind, outage_ms: float | None, failed: str = "", calm: Calm | None = None) -> Run:
    return Run(kind.name, 1, kind.name, "a", "control1", outage_ms, failed=failed, calm=calm)


def calm_of(longest_ms: float, control_ms: float, reconnects: int = 0) -> Run:
    return run_of(kinds.AGENT_KILLED, longest_ms, calm=Calm(longest_ms, control_ms, reconnects))


def test_a_failed_run_is_counted_and_misses_the_aim() -> None:
    runs = [run_of(kinds.POSTMASTER_KILLED, 200.0), run_of(kinds.POSTMASTER_KILLED, None, "never ended")]
    figures = figures_of(kinds.POSTMASTER_KILLED, runs, FLOOR)
    assert (figures.run_count, figures.failed_count, figures.ratio) == (2, 1, 2.0)
    assert not figures.aim_met


@pytest.mark.parametrize(
    ("kind", "at_most_ms"),
    [
        (kinds.POSTMASTER_KILLED, 250.0),
        (kinds.SWITCHOVER, 300.0),
        (kinds.HOST_LOST, 1_400.0),
        (kinds.HOST_ISOLATED, 1_400.0),
        (kinds.POSTGRES_FROZEN, 2_500.0),
        (kinds.DISK_STALLED, 2_500.0),
        (kinds.DISK_FULL, 2_500.0),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else "",
)
def test_an_aim_is_met_up_to_its_bound(kind: Kind, at_most_ms: float) -> None:
    assert figures_of(kind, [run_of(kind, at_most_ms)], FLOOR).aim_met
    assert not figures_of(kind, [run_of(kind, at_most_ms + 1)], FLOOR).aim_met


def test_the_aims_of_a_fault_that_moves_the_primary_are_bounds_and_of_all_others_that_nobody_notices() -> (
    None
):
    assert all((kind.aim.text == "no interruption") is not kind.moves for kind in kinds.KINDS)


def test_a_fault_that_nobody_notices_is_judged_by_the_longest_gaps_of_all_its_rounds() -> None:
    """One slow moment in a round is none of the fault's if the control periods had as long a one."""
    figures = figures_of(kinds.AGENT_KILLED, [calm_of(30.0, 15.0), calm_of(12.0, 20.0)], FLOOR)
    assert figures.aim_met
    assert (figures.maximum_ms, figures.control_ms, figures.ratio) == (30.0, 20.0, 0.21)


def test_a_longer_gap_than_in_the_control_periods_is_an_interruption() -> None:
    figures = figures_of(kinds.AGENT_KILLED, [calm_of(31.0, 15.0), calm_of(12.0, 20.0)], FLOOR)
    assert not figures.aim_met
    assert figures.interrupted == "a gap of 31 ms, against 20 ms in the control periods"


def test_a_reconnect_is_an_interruption_however_short() -> None:
    figures = figures_of(kinds.AGENT_KILLED, [calm_of(12.0, 15.0, reconnects=1)], FLOOR)
    assert not figures.aim_met
    assert (figures.reconnect_count, figures.interrupted[:12]) == (1, "1 reconnects")


def test_who_took_over_is_counted_where_a_standby_was_behind() -> None:
    runs = [
        replace(run_of(kinds.HOST_LOST, 900.0), behind="b", next_primary=chosen)
        for chosen in ("c", "b", "c", "")
    ]
    figures = figures_of(kinds.HOST_LOST, runs, FLOOR)
    assert (figures.another_count, figures.behind_count) == (2, 1)


def test_without_a_standby_behind_nobody_is_counted() -> None:
    assert figures_of(kinds.HOST_LOST, [run_of(kinds.HOST_LOST, 900.0)], FLOOR).another_count is None


def test_runs_that_did_not_take_place_are_complained_of() -> None:
    runs = [run_of(kinds.HOST_LOST, 900.0), run_of(kinds.SWITCHOVER, None, "primacy switchover: no")]
    assert complaints_of((kinds.HOST_LOST, kinds.SWITCHOVER), 2, runs) == [
        "switchover, round 1: primacy switchover: no",
        "only 2 of 4 runs took place",
    ]


def test_a_loss_after_the_load_must_be_seen_in_time() -> None:
    report = Report(1, {}, FLOOR, [], UnderLoad(600.0, 2, "default", (3, 3)), run_of(kinds.HOST_LOST, 900.0))
    assert report.detected_after_load is not None
    report.detected_after_load.detected_after_ms = 700.0
    assert complaints_of_load(report) == []
    report.detected_after_load.detected_after_ms = 1_500.0
    assert complaints_of_load(report) == ["the host lost after the load was detected after 1500.0 ms"]


def test_only_the_faults_that_were_chosen_are_in_the_evidence() -> None:
    report = Report(1, {}, FLOOR, [run_of(kinds.SWITCHOVER, 200.0)], kinds=(kinds.SWITCHOVER,))
    assert [one["kind"] for one in as_json(report)["figures"]] == ["switchover"]


def test_faults_are_chosen_by_name_or_by_a_word_of_it() -> None:
    assert kinds.chosen(["host lost"]) == (kinds.HOST_LOST,)
    assert kinds.chosen(["agent"]) == (kinds.AGENT_KILLED, kinds.AGENT_FROZEN)
    assert kinds.chosen([]) == kinds.KINDS
    with pytest.raises(LookupError, match="no fault is called 'sunspots'"):
        kinds.chosen(["sunspots"])
