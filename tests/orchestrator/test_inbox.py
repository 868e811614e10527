"""What waits for the loop, and what wakes it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from common.facts import PostgresState
from common.profile import DEFAULT
from orchestrator.core.events import BeatHeard, StreamLost, Tick
from orchestrator.core.liveness import threshold_ms
from orchestrator.core.observe import observe
from orchestrator.core.view import ClusterView
from orchestrator.shell.inbox import Inbox
from tests.orchestrator.beats import beat
from tests.orchestrator.fakes import SHOP, A, HandClock


def is_awake(inbox: Inbox) -> bool:
    return inbox.is_awake


def test_the_newest_beat_of_a_member_replaces_the_one_before() -> None:
    clock, lost = HandClock(), list[str]()
    inbox = Inbox(clock, counted=lost.append)
    for sequence in (1, 2, 3):
        inbox.put(SHOP, BeatHeard(clock.now(), beat(sequence=sequence)))
    inbox.put(SHOP, BeatHeard(clock.now(), beat("b")))
    items, _ = inbox.drain()
    heard = [(event.beat.member, event.beat.sequence) for _, event in items if isinstance(event, BeatHeard)]
    assert heard == [("a", 3), ("b", 1)]
    assert lost == ["superseded", "superseded"]


def test_beats_that_were_merged_do_not_look_like_slow_ones() -> None:
    """Else the loop's own rhythm would be measured, and a calm primary be suspected as late as its profile lets."""
    clock = HandClock()
    inbox, view = Inbox(clock), ClusterView()
    for sequence in range(1, 61):
        inbox.put(SHOP, BeatHeard(clock.now(), beat(sequence=sequence)))
        if sequence % 3 == 0:
            for _, event in inbox.drain()[0]:
                view = observe(view, event)
        clock.forward_ms(100)
    limit_ms = threshold_ms(view.member(A), DEFAULT, expected_every_ms=DEFAULT.beat_primary_every_ms)
    assert limit_ms == DEFAULT.suspect_floor_ms


def test_a_beat_that_was_overtaken_says_nothing() -> None:
    """Datagrams come out of order: what was sent before the postmaster died must not bring it back to life."""
    clock = HandClock()
    inbox, view = Inbox(clock), ClusterView()
    inbox.put(SHOP, BeatHeard(clock.now(), beat(sequence=7, postmaster_alive=False)))
    inbox.put(SHOP, BeatHeard(clock.now(), beat(sequence=6)))
    for _, event in inbox.drain()[0]:
        view = observe(view, event)
    inbox.put(SHOP, BeatHeard(clock.now(), beat(sequence=5)))
    for _, event in inbox.drain()[0]:
        view = observe(view, event)
    facts = view.member(A).facts
    assert facts is not None
    assert not facts.postmaster_alive


def test_a_beat_that_says_nothing_new_waits_for_the_tick() -> None:
    clock = HandClock()
    inbox = Inbox(clock)
    inbox.put(SHOP, BeatHeard(clock.now(), beat(sequence=1)))
    inbox.drain()
    inbox.put(SHOP, BeatHeard(clock.now(), beat(sequence=2)))
    assert not is_awake(inbox)
    inbox.tick(Tick(clock.now()))
    assert is_awake(inbox)
    items, tick = inbox.drain()
    assert len(items) == 1
    assert tick is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"postmaster_alive": False},
        {"postgres": PostgresState.STOPPED},
        {"sealed": True},
        {"open": True},
        {"boot_id": 78},
        {"timeline": 2},
    ],
)
def test_a_beat_that_says_something_new_wakes_the_loop_at_once(changes: dict[str, Any]) -> None:
    clock = HandClock()
    inbox = Inbox(clock)
    inbox.put(SHOP, BeatHeard(clock.now(), beat(sequence=1)))
    inbox.drain()
    inbox.put(SHOP, BeatHeard(clock.now(), beat(sequence=2, **changes)))
    assert is_awake(inbox)


def test_what_finds_no_room_is_dropped_and_counted() -> None:
    clock, lost = HandClock(), list[str]()
    inbox = Inbox(clock, room=1, counted=lost.append)
    assert inbox.put(SHOP, StreamLost(clock.now(), A))
    assert not inbox.put(SHOP, StreamLost(clock.now(), A))
    assert lost == ["dropped"]
    assert inbox.depth == 1


async def test_waiting_ends_when_something_is_due_though_nothing_came() -> None:
    clock = HandClock()
    inbox = Inbox(clock)
    async with asyncio.timeout(5):
        await inbox.wait(clock.now())
        clock_at = clock.now()
        await inbox.wait(type(clock_at)(clock_at + 1_000))
