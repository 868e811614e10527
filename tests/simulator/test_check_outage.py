"""Outages against the profile's arithmetic: what is judged, what counts, and that too long is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulator.broken import SECOND_US, isolate, run, until, whole_fleet
from tests.simulator.check_outage import JUDGED, Outages, allowed_ms
from tests.simulator.faults import KINDS
from tests.simulator.fleet import Fleet
from tests.simulator.model_clients import Clients
from tests.simulator.plan import Plan, Round, Timed
from tests.simulator.violation import Violation


def _watched(fault: str, weather: str = "calm") -> tuple[Fleet, Outages]:
    fleet = whole_fleet()
    Clients(fleet, 20)
    run(fleet, SECOND_US)
    outages = Outages(fleet, Plan(5, weather=weather))
    outages.begin(Round(1_000, (Timed(0, fault, 1),)))
    return fleet, outages


def _is_isolated(fleet: Fleet) -> None:
    isolate(fleet, "a")


def _is_frozen(fleet: Fleet) -> None:
    fleet.agents["a"].host.freeze()


def _is_lost(fleet: Fleet) -> None:
    fleet.lose_host("a")


def _crashes(fleet: Fleet) -> None:
    fleet.kill_postmaster("a")


def test_every_fault_that_is_judged_exists() -> None:
    assert set(KINDS) >= JUDGED


@pytest.mark.parametrize(
    ("fault", "hit"),
    [
        ("isolate_primary", _is_isolated),
        ("host_is_frozen", _is_frozen),
        ("lose_anybody", _is_lost),
        ("backend_is_killed", _crashes),
    ],
)
def test_a_failover_within_the_arithmetic_is_clean(fault: str, hit: Callable[[Fleet], None]) -> None:
    fleet, outages = _watched(fault)
    hit(fleet)
    rows = fleet.checkers.client_rows
    until(fleet, lambda: fleet.checkers.client_rows > rows + 20)
    assert 0 < outages.longest_ms <= allowed_ms(fault, fleet.profile)
    outages.end()
    assert fleet.world.counts["outages judged"] == 1


def test_a_failover_that_takes_longer_than_the_arithmetic_is_found() -> None:
    fleet, outages = _watched("isolate_primary")
    for server in fleet.postgres.values():
        server.promotion_takes_us = 2 * SECOND_US
    isolate(fleet, "a")
    rows = fleet.checkers.client_rows
    until(fleet, lambda: fleet.checkers.client_rows > rows + 20)
    with pytest.raises(Violation, match=r"^outage of \d+ ms after isolate_primary alone"):
        outages.end()


def test_a_silence_after_a_fault_that_stops_nothing_is_found() -> None:
    fleet, outages = _watched("agent_is_killed")
    for name in ("b", "c"):
        fleet.postgres[name].stalled_until = fleet.world.now_us + 2 * SECOND_US
    run(fleet, 3 * SECOND_US)
    with pytest.raises(Violation, match=r"^outage of \d+ ms after agent_is_killed alone"):
        outages.end()


def test_a_wait_for_voters_is_no_outage_that_a_failover_ends() -> None:
    fleet, outages = _watched("host_is_frozen")
    for name in ("b", "c"):
        fleet.agents[name].host.freeze()
    run(fleet, 3 * SECOND_US)
    outages.end()


def test_one_round_s_clock_does_not_run_on_in_the_next() -> None:
    fleet, outages = _watched("lose_primary")
    for _ in range(5):
        outages.end()
        outages.begin(Round(1_000, (Timed(0, "isolate_primary", 1),)))
    _is_isolated(fleet)
    rows = fleet.checkers.client_rows
    until(fleet, lambda: fleet.checkers.client_rows > rows + 20)
    outages.end()


def test_bad_weather_is_not_judged() -> None:
    fleet, outages = _watched("lose_primary", weather="stormy")
    outages.end()
    assert "outages judged" not in fleet.world.counts
