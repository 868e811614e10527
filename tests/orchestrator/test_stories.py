"""Incidents grow from stories, survive a change of leader, and are told once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from common.codec import decode
from orchestrator.core.effects import OutageMeasured, Story
from orchestrator.core.outages import CanaryOutage
from orchestrator.core.reasons import Refusal, Refused
from orchestrator.ports import Shelf
from orchestrator.shell.operations import Operations
from orchestrator.shell.stories import GATHER_MS, Stories
from orchestrator.telemetry.incident import STEPS_MAX, Incident
from orchestrator.telemetry.metrics import Metrics
from tests.orchestrator.fakes import SHOP, TERM, A, HandClock
from tests.orchestrator.operator_node import MemoryHistory


@asynccontextmanager
async def leader(
    history: MemoryHistory, clock: HandClock, *, gather_ms: int = GATHER_MS
) -> AsyncIterator[Stories]:
    stories = Stories(
        clock=clock,
        operations=Operations(clock),
        history=history,
        term=lambda: TERM,
        metrics=Metrics(),
        gather_ms=gather_ms,
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(stories.run())
        yield stories
        async with asyncio.timeout(10):
            while not stories.is_idle:
                await asyncio.sleep(0.001)
        running.cancel()


def incident(history: MemoryHistory, epoch: int) -> Incident:
    return decode(history.notes[Shelf.INCIDENTS, f"{epoch:012d}"].body, Incident)


async def test_an_incident_begins_when_the_primary_was_suspected_and_not_when_that_was_told() -> None:
    history, clock = MemoryHistory(), HandClock()
    async with leader(history, clock) as stories:
        suspected_at = clock.now()
        clock.forward_ms(200)
        suspected = Story(7, "suspected", "silent for 700 ms", member=A, happened_at=suspected_at)
        stories.tell(SHOP, suspected)
        refused = (Refused(A, Refusal.SILENT, "for 900 ms"),)
        stories.tell(SHOP, Story(7, "sealing", "PrimaryHostLost", refused=refused))
        clock.forward_ms(300)
        stories.tell(SHOP, Story(7, "serving", "b serves", outage=OutageMeasured(800, 500)))
    told = incident(history, 7)
    assert [(step.name, step.since_start_ms) for step in told.steps] == [
        ("suspected", 0),
        ("sealing", 200),
        ("serving", 500),
    ]
    assert (told.cause, told.outage_ms, told.uncertainty_ms, told.outcome) == (
        "silent for 700 ms",
        800,
        500,
        "succeeded",
    )
    assert [(line.member, line.reason) for line in told.refused] == [("a", "silent")]


async def test_a_leader_that_is_stopped_stores_what_it_would_have_gathered() -> None:
    history, clock = MemoryHistory(), HandClock()
    async with leader(history, clock, gather_ms=60_000) as stories:
        stories.tell(SHOP, Story(7, "sealing", "PrimaryCrashed"))
        stories.tell(SHOP, Story(7, "promoted", "b is promoted"))
        await asyncio.sleep(0.01)
        assert not history.notes
        await stories.settle(10)
        assert [step.name for step in incident(history, 7).steps] == ["sealing", "promoted"]


async def test_a_new_leader_goes_on_with_the_account_and_says_nothing_twice() -> None:
    history, clock = MemoryHistory(), HandClock()
    async with leader(history, clock) as first:
        first.tell(SHOP, Story(7, "sealing", "PrimaryCrashed"))
        first.tell(SHOP, Story(7, "promoted", "b is promoted"))
    async with leader(history, clock) as second:
        second.tell(SHOP, Story(7, "promoted", "b was promoted"))
        second.tell(SHOP, Story(7, "whole", "everybody streams"))
    assert [step.name for step in incident(history, 7).steps] == ["sealing", "promoted", "whole"]


async def test_what_a_failover_tells_is_stored_once_and_not_beside_its_first_steps() -> None:
    history, clock = MemoryHistory(), HandClock()
    names = ("sealing", "promoting", "promoted", "names", "serving")
    async with leader(history, clock) as stories:
        for name in names:
            stories.tell(SHOP, Story(7, name, f"{name} b"))
            for _ in range(100):  # not at once: the same processors seal and promote just then
                await asyncio.sleep(0)
            assert not history.puts_count
    assert history.puts_count == 1
    assert tuple(step.name for step in incident(history, 7).steps) == names


async def test_an_account_of_a_term_that_ended_is_not_put_over_the_next_leader_s() -> None:
    history, clock = MemoryHistory(), HandClock()
    async with leader(history, clock) as first, leader(history, clock) as second:
        first.tell(SHOP, Story(7, "sealing", "PrimaryCrashed"))
        while not history.puts_count:
            await asyncio.sleep(0)
        first.tell(SHOP, Story(7, "promoting", "b at 1@0/1"))
        first.forget()
        second.tell(SHOP, Story(7, "promoted", "b is promoted"))
        while history.puts_count < 2:
            await asyncio.sleep(0)
        first.tell(SHOP, Story(7, "whole", "everybody streams"))
    assert [step.name for step in incident(history, 7).steps] == ["sealing", "promoted", "whole"]


async def test_what_was_refused_is_kept_as_an_operation_and_is_no_incident() -> None:
    history, clock = MemoryHistory(), HandClock()
    async with leader(history, clock) as stories:
        stories.tell(SHOP, Story(7, "refused", "c is silent", "request-1", final="refused"))
    assert list(history.notes) == [(Shelf.OPERATIONS, "request-1")]


async def test_what_happens_again_in_an_epoch_is_told_again() -> None:
    """A standby that is lost for the second time: the same words, and not the same moment."""
    history, clock = MemoryHistory(), HandClock()
    away, back = "from ANY 1 (b.1, c.1) to ANY 1 (b.1)", "from ANY 1 (b.1) to ANY 1 (b.1, c.1)"
    async with leader(history, clock) as stories:
        for text in (away, back, away, away):
            clock.forward_ms(1000)
            stories.tell(SHOP, Story(7, "rule change", text))
    steps = incident(history, 7).steps
    assert [(step.text, step.since_start_ms) for step in steps] == [(away, 0), (back, 1000), (away, 2000)]


async def test_an_epoch_in_which_much_happens_keeps_how_it_began_and_what_is_newest() -> None:
    history, clock = MemoryHistory(), HandClock()
    async with leader(history, clock) as stories:
        for number in range(STEPS_MAX + 30):
            stories.tell(SHOP, Story(7, "rule change", f"number {number}"))
    told = incident(history, 7)
    assert len(told.steps) == STEPS_MAX
    assert told.left_out_count == 30
    assert (told.steps[0].text, told.steps[-1].text) == ("number 0", f"number {STEPS_MAX + 29}")
    assert [step.text for step in told.steps].count("number 20") == 1


def seen(outage_ms: int, *, at_least: bool = False, epoch: int = 7) -> CanaryOutage:
    return CanaryOutage(epoch, outage_ms, 20, at_least)


ESTIMATE = Story(7, "serving", "b serves", outage=OutageMeasured(1_130, 500))


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        pytest.param((ESTIMATE,), seen(900), (900, 20, "canary", False), id="the_canary_s_instead_of_it"),
        pytest.param((), seen(900), (900, 20, "canary", False), id="without_an_estimate"),
        pytest.param((ESTIMATE,), None, (1_130, 500, "probes", False), id="no_canary"),
        pytest.param((ESTIMATE,), seen(900, at_least=True), (1_130, 500, "probes", False), id="a_part_only"),
        pytest.param(
            (ESTIMATE,), seen(1_900, at_least=True), (1_900, 20, "canary", True), id="a_part_that_is_longer"
        ),
        pytest.param(
            (seen(900, at_least=True),), seen(950), (950, 20, "canary", False), id="all_of_it_after_a_part"
        ),
        pytest.param((seen(950),), seen(900), (950, 20, "canary", False), id="a_shorter_one_later"),
        pytest.param(
            (seen(950), ESTIMATE), None, (950, 20, "canary", False), id="an_estimate_that_comes_later"
        ),
        pytest.param(
            (seen(50, at_least=True), ESTIMATE), None, (1_130, 500, "probes", False), id="of_a_small_part"
        ),
    ],
)
async def test_the_best_figure_of_the_outage_stands_in_the_incident(
    first: tuple[Story | CanaryOutage, ...],
    then: CanaryOutage | None,
    expected: tuple[int, int, str, bool],
) -> None:
    history, clock = MemoryHistory(), HandClock()
    async with leader(history, clock) as stories:
        stories.tell(SHOP, Story(7, "sealing", "PrimaryCrashed"))
        for one in (*first, *(() if then is None else (then,))):
            if isinstance(one, Story):
                stories.tell(SHOP, one)
            else:
                stories.measured(SHOP, one)
    told = incident(history, 7)
    assert (told.outage_ms, told.uncertainty_ms, told.outage_by, told.outage_at_least) == expected
    parts = [one for one in (*first, then) if isinstance(one, CanaryOutage) and one.at_least]
    hidden = parts and expected[2] == "probes"
    assert told.canary_part_ms == (parts[0].outage_ms if hidden else None)


async def test_an_incident_that_was_over_before_this_leader_came_is_left_alone() -> None:
    history, clock = MemoryHistory(), HandClock()
    async with leader(history, clock) as first:
        for name in ("sealing", "serving", "whole"):
            first.tell(SHOP, Story(7, name, "as it was"))
    before = history.notes[Shelf.INCIDENTS, f"{7:012d}"]
    async with leader(history, clock) as second:
        second.measured(SHOP, seen(5_000, at_least=True))
        second.tell(SHOP, Story(7, "whole", "said again"))
        second.measured(SHOP, seen(5_000, at_least=True))
    assert history.notes[Shelf.INCIDENTS, f"{7:012d}"] == before


async def test_an_outage_without_an_incident_makes_none() -> None:
    history, clock = MemoryHistory(), HandClock()
    async with leader(history, clock) as stories:
        stories.measured(SHOP, seen(900))
    assert not history.notes


async def test_an_older_epoch_s_outage_goes_to_its_own_incident() -> None:
    history, clock = MemoryHistory(), HandClock()
    async with leader(history, clock) as stories:
        stories.tell(SHOP, Story(7, "sealing", "PrimaryCrashed"))
        stories.tell(SHOP, Story(8, "candidate given up", "b is given up"))
        stories.measured(SHOP, seen(3_000, epoch=7))
        stories.measured(SHOP, seen(3_000, epoch=8))
        stories.tell(SHOP, Story(8, "serving", "c serves"))
    assert (incident(history, 7).outage_ms, incident(history, 8).outage_ms) == (3_000, 3_000)
    assert [step.name for step in incident(history, 8).steps] == ["candidate given up", "serving"]
