"""I5's exceptions: the status names exactly what is unresolved in the world; less, more or something else is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.core.status import ReasonLine
from tests.simulator.broken import SECOND_US, record_of, run, until, whole_fleet
from tests.simulator.check_exception import wrongly_told
from tests.simulator.fleet import Fleet
from tests.simulator.model_clients import Clients
from tests.simulator.swarm import _whole_again
from tests.simulator.violation import Violation


def _reasons(fleet: Fleet) -> tuple[ReasonLine, ...]:
    return fleet.control.engine.status(fleet.control.now).reasons


@pytest.fixture
def alone() -> Fleet:
    """The primary was solo when its disk was lost: what it acknowledged last is nowhere."""
    fleet = whole_fleet(members=2)
    Clients(fleet)
    fleet.lose_host("b")
    until(fleet, lambda: not record_of(fleet).rule.waits and record_of(fleet).target is None)
    fleet.lose_directory("a")
    fleet.agents["a"].host.kill_agent()
    fleet.restart_host("b")
    run(fleet, 20 * SECOND_US)
    return fleet


@pytest.fixture
def scattered() -> Fleet:
    """The primary and one of its voters lost their state at once: R2 lacks a seal, and one of two would do."""
    fleet = whole_fleet(members=3)
    Clients(fleet)
    fleet.kill_postmaster("a")
    for name in ("a", "c"):
        fleet.lose_state(name)
    run(fleet, 20 * SECOND_US)
    return fleet


def test_the_lost_primary_that_was_solo_is_named(alone: Fleet) -> None:
    assert wrongly_told(alone, _reasons(alone)) == ""
    alone.heal()
    assert not _whole_again(alone, lost=["a"])


def test_the_lost_voters_are_named(scattered: Fleet) -> None:
    assert wrongly_told(scattered, _reasons(scattered)) == ""
    scattered.heal()
    assert not _whole_again(scattered, lost=["a"])


@pytest.mark.parametrize(("said", "instead"), [("a.1", "a.2"), ("a.1", "b.2")])
def test_an_incarnation_that_would_resolve_nothing_is_found(alone: Fleet, said: str, instead: str) -> None:
    wrong = tuple(replace(line, text=line.text.replace(said, instead)) for line in _reasons(alone))
    assert "unresolved are" in wrongly_told(alone, wrong)


def test_a_status_that_names_nobody_is_found(scattered: Fleet) -> None:
    wrong = tuple(line for line in _reasons(scattered) if not line.reason.startswith("seals"))
    assert "unresolved are" in wrongly_told(scattered, wrong)


def test_a_status_that_names_one_of_two_is_found(scattered: Fleet) -> None:
    wrong = tuple(replace(line, text=line.text.replace("or a.1 ", "")) for line in _reasons(scattered))
    assert wrong != _reasons(scattered)
    assert "unresolved are" in wrongly_told(scattered, wrong)


def test_a_prior_that_is_resolved_and_called_missing_is_found(alone: Fleet) -> None:
    more = ReasonLine("seals_out_of_reach", "b", "missing: b.2, which alone may have acknowledged (…)")
    assert "unresolved are" in wrongly_told(alone, (*_reasons(alone), more))


def test_a_refusal_that_is_not_so_is_found(alone: Fleet) -> None:
    more = ReasonLine(
        "candidate_out_of_reach", "", "a: nofailover is set in the cluster's file; b: is at 1@0/80"
    )
    assert "of a is said" in wrongly_told(alone, (*_reasons(alone), more))


def test_a_run_that_ends_in_an_exception_told_wrongly_is_a_violation(alone: Fleet) -> None:
    engine = alone.control.engine
    honest = engine.status
    engine.status = lambda now: replace(  # type: ignore[method-assign]
        honest(now),
        reasons=tuple(replace(line, text=line.text.replace("a.1", "a.7")) for line in honest(now).reasons),
    )
    alone.heal()
    with pytest.raises(Violation, match="the exception is not what the status names"):
        _whole_again(alone, lost=["a"])
