"""A refusal is found however the primary is lost, and over any number of epochs; patience is not found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from orchestrator.core.leave import leave
from orchestrator.core.record import Operation, Phase
from tests.simulator.broken import SECOND_US, isolate, record_of, run, until, whole_fleet
from tests.simulator.fleet import Fleet
from tests.simulator.model_clients import Clients
from tests.simulator.violation import Violation


def _decides_nothing(fleet: Fleet) -> None:
    """The leader goes on, and leaves no epoch."""
    engine = fleet.control.engine
    honest = engine.turn
    engine.turn = lambda now: replace(honest(now), record=None)  # type: ignore[method-assign]


def _crashes(fleet: Fleet) -> None:
    fleet.lose_host("a")


def _is_isolated(fleet: Fleet) -> None:
    isolate(fleet, "a")


def _is_frozen(fleet: Fleet) -> None:
    fleet.agents["a"].host.freeze()


def _is_frozen_in_postgres(fleet: Fleet) -> None:
    fleet.agents["a"].host.freeze(fleet.agents["a"].host.postgres_process)


def _can_t_write(fleet: Fleet) -> None:
    fleet.postgres["a"].stalled_until = fleet.world.now_us + 60 * SECOND_US


@pytest.mark.parametrize(
    "lose",
    [_crashes, _is_isolated, _is_frozen, _is_frozen_in_postgres, _can_t_write],
    ids=lambda f: f.__name__,
)
def test_a_leader_that_leaves_a_lost_primary_in_its_place_is_found(lose: Callable[[Fleet], None]) -> None:
    fleet = whole_fleet()
    Clients(fleet)
    _decides_nothing(fleet)
    lose(fleet)
    with pytest.raises(
        Violation, match=r"^refused for \d+ ms, now in STABLE of epoch 1: a .*[bc] could take over"
    ):
        run(fleet, 12 * SECOND_US)


def test_a_primary_that_is_frozen_while_its_probe_waits_for_voters_is_replaced() -> None:
    """Its agent can't see that anything waits there: the witness of the probe gets no answer either."""
    fleet = whole_fleet()
    Clients(fleet)
    agent = fleet.agents["a"]
    for _ in range(40_000):
        run(fleet, 100)
        if agent.prober.waits:
            break
    assert agent.prober.waits
    agent.host.freeze(agent.host.postgres_process)
    until(fleet, lambda: record_of(fleet).epoch > 1, 8 * SECOND_US)


def test_new_epochs_don_t_begin_the_time_anew() -> None:
    fleet = whole_fleet()
    Clients(fleet)
    _decides_nothing(fleet)
    fleet.lose_host("a")
    operation = Operation("", "automatic", "PrimaryHostLost")

    def leave_again() -> None:
        record = record_of(fleet)
        again = leave(replace(record, phase=Phase.SEALING) if record.epoch > 1 else record, operation)
        fleet.etcd.record = again
        fleet.world.after(2 * SECOND_US, leave_again)

    fleet.world.after(2 * SECOND_US, leave_again)
    fleet.truth.saved = lambda old, new: None  # type: ignore[method-assign]
    with pytest.raises(Violation, match=r"^refused for \d+ ms, now in SEALING of epoch \d\d"):
        run(fleet, 60 * SECOND_US)


def test_nothing_is_refused_while_nobody_legal_can_be_reached() -> None:
    fleet = whole_fleet()
    Clients(fleet)
    for name in ("a", "b"):
        fleet.lose_host(name)
    run(fleet, 40 * SECOND_US)
    assert record_of(fleet).epoch == 1


def test_a_primary_that_one_voice_still_hears_is_not_lost() -> None:
    fleet = whole_fleet()
    Clients(fleet)
    _decides_nothing(fleet)
    fleet.cut |= {frozenset(("a", "control")), frozenset(("a", "b"))}
    until(fleet, lambda: fleet.world.now_us > 40 * SECOND_US, 60 * SECOND_US)
