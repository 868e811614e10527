"""What "Staying up" promises of one host, seen on the simulated fleet."""

from __future__ import annotations

import pytest

from common.facts import PostgresState
from common.profile import DEFAULT
from common.timebase import SECOND_US
from tests.simulator.fleet import Fleet
from tests.simulator.model_agent import Agent
from tests.simulator.model_clients import Clients

_LEASE_US = DEFAULT.lease_ms * 1_000


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet(7)
    assert fleet.world.run_until(40 * SECOND_US, fleet.whole)
    Clients(fleet)
    return fleet


def primary_of(fleet: Fleet) -> Agent:
    record = fleet.record()
    assert record is not None
    assert record.primary is not None
    return fleet.agents[str(record.primary)]


def run(fleet: Fleet, duration_us: int) -> None:
    fleet.world.run_until(fleet.world.now_us + duration_us)


def cut_control(fleet: Fleet) -> None:
    fleet.cut |= {frozenset((name, "control")) for name in sorted(fleet.agents)}


def cut_members(fleet: Fleet, name: str) -> None:
    fleet.cut |= {frozenset((name, other)) for other in sorted(fleet.agents) if other != name}


def fences(fleet: Fleet) -> int:
    return sum(count for what, count in fleet.world.counts.items() if what.startswith("primaries fenced"))


def test_without_control_plane_agent_and_guard_a_primary_with_its_voters_stays_open(fleet: Fleet) -> None:
    cut_control(fleet)
    agent, pg = primary_of(fleet), primary_of(fleet).postgres
    run_before = pg.run
    for _ in range(4):
        agent.host.kill_agent()
        run(fleet, _LEASE_US)
        agent.host.kill_guard()
        run(fleet, _LEASE_US)
        agent.host.kill_both()
        run(fleet, _LEASE_US)
    assert fences(fleet) == 0
    assert (pg.run, pg.lets_clients_in) == (run_before, True)
    rows = fleet.checkers.client_rows
    run(fleet, SECOND_US)
    assert fleet.checkers.client_rows > rows


def test_a_primary_without_voters_and_leader_is_stopped_in_time_and_starts_closed(fleet: Fleet) -> None:
    agent = primary_of(fleet)
    cut_control(fleet)
    cut_members(fleet, agent.name)
    run(fleet, _LEASE_US)
    assert fences(fleet) == 1
    assert not agent.open
    run(fleet, 10 * SECOND_US)
    assert agent.postgres.state is PostgresState.PRIMARY
    assert agent.postgres.conf.closed


def test_a_leader_alone_keeps_a_primary_open_whose_commits_wait(fleet: Fleet) -> None:
    """Reason (a). Both voters hang, so nobody can take over, and the primary's commits wait."""
    agent = primary_of(fleet)
    for name, server in fleet.postgres.items():
        if name != agent.name:
            server.stalled_until = fleet.world.now_us + 3 * _LEASE_US
    run(fleet, 2 * _LEASE_US)
    assert agent.open
    assert fences(fleet) == 0


def test_a_frozen_agent_is_replaced_and_its_guard_commits_meanwhile(fleet: Fleet) -> None:
    cut_control(fleet)
    agent = primary_of(fleet)
    agent.host.freeze(agent.host.agent_process)
    run(fleet, 2 * _LEASE_US)
    assert fleet.world.counts["silent agents killed by their guard"] == 1
    assert fleet.world.counts["commits of a guard"] >= 1
    assert agent.alive
    assert agent.open
    assert fences(fleet) == 0


def test_an_agent_that_dies_at_every_start_stops_nothing(fleet: Fleet) -> None:
    cut_control(fleet)
    agent = primary_of(fleet)
    for _ in range(150):
        agent.host.kill_agent()
        run(fleet, 100_000)
    assert fleet.world.counts["commits of a guard"] >= 3
    assert fences(fleet) == 0
    assert agent.open


def test_a_guard_kills_what_a_frozen_agent_can_t_stop(fleet: Fleet) -> None:
    agent = primary_of(fleet)
    cut_control(fleet)
    cut_members(fleet, agent.name)
    agent.host.freeze(agent.host.agent_process)
    run(fleet, _LEASE_US)
    assert fences(fleet) == 1
    assert not agent.open


def test_a_hung_guard_is_ended_by_its_agent_which_takes_its_place(fleet: Fleet) -> None:
    agent = primary_of(fleet)
    agent.host.freeze(agent.host.guard_process)
    run(fleet, 2 * _LEASE_US)
    assert fleet.world.counts["hung guards ended by their agent"] == 1
    assert fleet.world.counts["agents that became guards"] == 1
    assert agent.alive
    assert agent.host.guard.alive
    assert agent.open


def test_a_host_that_slept_through_its_replacement_shows_nothing_for_longer_than_a_lease(
    fleet: Fleet,
) -> None:
    agent = primary_of(fleet)
    agent.host.freeze()
    run(fleet, 10 * SECOND_US)
    assert primary_of(fleet) is not agent
    agent.host.thaw()
    run(fleet, SECOND_US)
    assert not agent.open


@pytest.mark.parametrize("permille", [-100, 100])
def test_a_healthy_primary_with_the_worst_clock_never_fences_itself(fleet: Fleet, permille: int) -> None:
    cut_control(fleet)
    for agent in fleet.agents.values():
        agent.host.clock.drift(permille)
    run(fleet, 60 * SECOND_US)
    assert fences(fleet) == 0
    assert primary_of(fleet).open
