"""DNS in the world: a server that goes back, and one that is never told, are found."""

from __future__ import annotations

import pytest

from tests.simulator.broken import SECOND_US, fail_over, record_of, run, until, whole_fleet
from tests.simulator.fleet import Fleet
from tests.simulator.violation import Violation


def _confirmed_failover() -> Fleet:
    fleet = whole_fleet()
    fail_over(fleet)
    until(fleet, lambda: fleet.control_checkers.confirmed_epoch == 2)
    return fleet


@pytest.mark.parametrize("server", ["primary", "secondary"])
def test_a_server_that_names_a_superseded_member_after_the_change_was_confirmed_is_found(server: str) -> None:
    before = whole_fleet().names.primary
    fleet = _confirmed_failover()
    setattr(fleet.names, server, before)
    says = rf"^DNS: the zone's {server} names .*10.0.0.1.* of epoch 1, and epoch 2 was confirmed"
    with pytest.raises(Violation, match=says):
        run(fleet, SECOND_US)


def test_names_that_are_never_changed_are_found() -> None:
    fleet = whole_fleet()
    fleet.names.update = lambda wanted, seen: False  # type: ignore[method-assign]
    with pytest.raises(
        Violation, match=r"^DNS: .* of epoch 1 stands there \d+ ms after [bc] serves in epoch 2"
    ):
        fail_over(fleet)
        run(fleet, 10 * SECOND_US)


def test_names_may_stand_for_as_long_as_the_servers_are_away() -> None:
    fleet = whole_fleet()
    fleet.names.down_until_us = fleet.world.now_us + 20 * SECOND_US
    fail_over(fleet)
    run(fleet, 10 * SECOND_US)
    assert record_of(fleet).epoch == 2
