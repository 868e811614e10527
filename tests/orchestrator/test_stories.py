"""Incidents grow from stories, survive a change of leader, and are told once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.codec import decode
from orchestrator.core.effects import OutageMeasured, Story
from orchestrator.core.reasons import Refusal, Refused
from orchestrator.ports import Shelf
from orchestrator.shell.operations import Operations
from orchestrator.shell.stories import Stories
from orchestrator.telemetry.incident import STEPS_MAX, Incident
from orchestrator.telemetry.metrics import Metrics
from tests.orchestrator.fakes import SHOP, TERM, A, HandClock
from tests.orchestrator.operator_node import MemoryHistory


@asynccontextmanager
async def leader(history: MemoryHistory, clock: HandClock) -> AsyncIterator[Stories]:
    stories = Stories(
        clock=clock,
        operations=Operations(clock),
        history=history,
        term=lambda: TERM,
        metrics=Metrics(),
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


async def test_a_new_leader_goes_on_with_the_account_and_says_nothing_twice() -> None:
    history, clock = MemoryHistory(), HandClock()
    async with leader(history, clock) as first:
        first.tell(SHOP, Story(7, "sealing", "PrimaryCrashed"))
        first.tell(SHOP, Story(7, "promoted", "b is promoted"))
    async with leader(history, clock) as second:
        second.tell(SHOP, Story(7, "promoted", "b was promoted"))
        second.tell(SHOP, Story(7, "whole", "everybody streams"))
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
