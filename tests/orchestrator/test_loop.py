"""The order of a turn, and what becomes of it when saving fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from common.assignment import Version
from common.codec import decode, encode
from common.errors import LostLeadership, NotDelivered, OutcomeUnknown
from common.ids import ClusterName
from common.timebase import Instant
from orchestrator.core.decision import Decision
from orchestrator.core.effects import PublishNames, StandDown, Story
from orchestrator.core.events import (
    BeatHeard,
    LeadershipGained,
    LeadershipLost,
    RecordLoaded,
    RecordSaved,
    SpecLoaded,
    Tick,
)
from orchestrator.core.names import WantedNames
from orchestrator.core.record import Phase, Record
from orchestrator.ports import Conflict, StoredRecord
from orchestrator.shell.failpoints import Failpoints
from orchestrator.shell.loop import Loop
from tests.orchestrator.beats import beat
from tests.orchestrator.control_node import spec_of
from tests.orchestrator.fakes import (
    CALM,
    SHOP,
    TERM,
    A,
    ScriptedEngine,
    Shell,
    deciding,
    record,
    shell,
)

STORY = Story(1, "sealing", "")
WANTED = WantedNames("shop", "db.example.", 1, 1, ("127.0.9.1",), ())


async def test_the_record_is_saved_before_anything_is_said_or_done(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await one.lead()
        happened = await one.turn(deciding(record(), effects=(STORY,)), deciding(assign=1))
        assert happened == ["decided", "saved", "told sealing", "decided", "assigned 1"]
        assert one.engine.was_fed(RecordSaved)


async def test_a_node_that_does_not_lead_listens_and_decides_nothing(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        one.inbox.put(SHOP, BeatHeard(one.clock.now(), beat()))
        assert await one.turn() == []
        assert one.engine.was_fed(BeatHeard)


async def test_whoever_begins_to_lead_reads_the_record_first(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        one.records.stored = StoredRecord(encode(record(epoch=3)), 40)
        await one.lead()
        assert one.diary == ["loaded", "decided"]
        gained, loaded = one.engine.fed[-2:]
        assert isinstance(gained, LeadershipGained)
        assert isinstance(loaded, RecordLoaded)
        assert (gained.term, loaded.revision) == (TERM.create_revision, 40)


async def test_a_lost_term_ends_leading_in_the_same_turn(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await one.lead()
        await one.turn(deciding(grant_epoch=1, effects=(PublishNames(WANTED),)))
        await asyncio.sleep(0)
        assert one.diary[-1] == "publishing"
        one.records.failing.append(LostLeadership("somebody else"))
        happened = await one.turn(deciding(record(), effects=(STORY,), grant_epoch=1))
        assert happened[:2] == ["decided", "save failed: LostLeadership"]
        assert "streams closed" in happened
        assert "told sealing" not in happened
        assert isinstance(one.engine.fed[-1], LeadershipLost)
        assert one.leases.for_beat(SHOP, A, 1) is None
        assert not one.loop.leads
        await asyncio.sleep(0)
        assert one.diary[-1] == "publishing cancelled"
        assert await one.turn() == []


@pytest.mark.covers("T63")
async def test_leases_and_orders_end_the_moment_the_election_says_so(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await one.lead()
        await one.turn(deciding(grant_epoch=1))
        assert one.leases.for_beat(SHOP, A, 1) is not None
        one.loop.lead(None)
        assert one.leases.for_beat(SHOP, A, 1) is None
        assert one.diary[-1] == "streams closed"


async def test_a_save_that_outlives_our_term_orders_nothing(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await one.lead()
        one.records.on_save = lambda: one.loop.lead(None)
        happened = await one.turn(deciding(record(), effects=(STORY,)))
        assert happened == ["decided", "streams closed", "saved"]


@pytest.mark.covers("S52")
async def test_an_unknown_outcome_is_read_back_and_never_repeated_blindly(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await one.lead()
        one.records.failing.append(OutcomeUnknown("etcd fell silent"))
        one.records.stores_first = True
        assert await one.turn(deciding(record(epoch=2))) == ["decided", "save failed: OutcomeUnknown"]
        one.clock.forward_ms(100)
        assert await one.turn() == ["loaded", "decided"]
        loaded = [event for event in one.engine.fed if isinstance(event, RecordLoaded)][-1]
        assert loaded.record == record(epoch=2)


async def _leaves_epoch_1_unanswered(one: Shell) -> None:
    one.records.stored = StoredRecord(encode(record(epoch=1)), 40)
    await one.lead()
    one.records.failing.append(OutcomeUnknown("etcd fell silent"))
    await one.turn(deciding(record(epoch=2)))


async def test_what_was_not_answered_cannot_land_once_something_was_decided(tmp_path: Path) -> None:
    """Seed 940000514: it landed after the record was read, and the leader went on in an epoch that was left."""
    async with shell(tmp_path) as one:
        await _leaves_epoch_1_unanswered(one)
        one.clock.forward_ms(100)
        assert await one.turn(deciding(grant_epoch=1)) == ["loaded", "saved", "decided"]
        assert one.leases.for_beat(SHOP, A, 1) is not None
        with pytest.raises(Conflict):
            await one.records.save(SHOP, encode(record(epoch=2)), 40, TERM)
        one.clock.forward_ms(100)
        assert await one.turn() == ["decided"]


async def test_one_that_lands_while_it_is_settled_is_read(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await _leaves_epoch_1_unanswered(one)
        late = StoredRecord(encode(record(epoch=2)), 41)
        one.records.on_save = lambda: setattr(one.records, "stored", late)
        one.clock.forward_ms(100)
        assert await one.turn() == ["loaded", "conflict"]
        one.records.on_save = lambda: None
        one.clock.forward_ms(200)
        assert await one.turn() == ["loaded", "decided"]
        loaded = [event for event in one.engine.fed if isinstance(event, RecordLoaded)][-1]
        assert (loaded.record, loaded.revision) == (record(epoch=2), 41)


async def test_a_term_that_ends_while_a_save_is_settled_ends_leading(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await _leaves_epoch_1_unanswered(one)
        one.records.failing.append(LostLeadership("somebody else"))
        one.clock.forward_ms(100)
        assert await one.turn() == ["loaded", "save failed: LostLeadership", "streams closed"]
        assert not one.loop.leads


async def test_a_decision_of_a_term_that_ended_is_not_saved(tmp_path: Path) -> None:
    """It ends between the decision and the task of its own in which it would be saved."""
    async with shell(tmp_path) as one:
        await one.lead()
        one.engine.turn = _ending(one.engine.turn, one.loop)  # type: ignore[method-assign, assignment]
        assert await one.turn(deciding(record(), effects=(STORY,))) == ["decided", "streams closed"]
        assert one.records.stored is None


def _ending(turn: Callable[[Instant], Decision], loop: Loop) -> Callable[[Instant], Decision]:
    def then_ended(now: Instant) -> Decision:
        decision = turn(now)
        loop.lead(None)
        return decision

    return then_ended


async def test_an_unknown_outcome_that_cannot_be_read_back_decides_nothing(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await one.lead()
        one.records.failing.append(OutcomeUnknown("etcd fell silent"))
        await one.turn(deciding(record()))
        one.records.loads_failing.append(NotDelivered("etcd is away"))
        one.clock.forward_ms(100)
        assert await one.turn(deciding(record())) == ["loaded"]


async def test_a_record_that_somebody_else_changed_is_read_again(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await one.lead()
        one.records.failing.append(Conflict("record", expected=0, found=9))
        await one.turn(deciding(record()))
        one.clock.forward_ms(100)
        assert await one.turn() == ["loaded", "decided"]


async def test_a_save_that_was_not_delivered_is_decided_again_after_a_pause(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await one.lead()
        one.records.failing.extend([NotDelivered("away"), NotDelivered("away")])
        assert await one.turn(deciding(record())) == ["decided", "save failed: NotDelivered"]
        one.clock.forward_ms(99)
        assert await one.turn() == []
        one.clock.forward_ms(1)
        assert await one.turn(deciding(record())) == ["decided", "save failed: NotDelivered"]
        one.clock.forward_ms(199)
        assert await one.turn() == []  # the pause grows
        one.clock.forward_ms(1)
        assert await one.turn(deciding(record())) == ["decided", "saved", "decided"]


@pytest.mark.covers("S42")
async def test_a_decision_that_leaves_the_epoch_grants_nothing_before_it_is_even_sent(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await one.lead()
        await one.turn(deciding(grant_epoch=1))
        seen: list[object] = []
        one.records.on_save = lambda: seen.append(one.leases.for_beat(SHOP, A, 1))
        await one.turn(deciding(record(2, Phase.SEALING)))
        assert seen == [None]


async def test_what_is_due_again_is_decided_again_then(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await one.lead()
        await one.turn(deciding(again_at_us=one.clock.now() + 30_000))
        one.diary.clear()
        one.clock.forward_ms(29)
        await one.loop.run_turn()
        assert one.diary == []
        one.clock.forward_ms(1)
        await one.loop.run_turn()
        assert one.diary == ["decided"]


async def test_a_broken_invariant_is_not_caught(tmp_path: Path) -> None:
    def broken(_now: object) -> None:
        raise AssertionError("two primaries")

    async with shell(tmp_path) as one:
        await one.lead()
        one.engine.turn = broken  # type: ignore[method-assign,assignment]
        with pytest.raises(ExceptionGroup) as caught:
            await one.turn()
        assert caught.group_contains(AssertionError)


async def test_a_leader_that_doubts_itself_gives_up_the_election(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await one.lead()
        await one.turn(deciding(effects=(StandDown("all fell silent at once"),)))
        await one.turn()
        await asyncio.sleep(0)
        assert one.stood_down == ["all fell silent at once"]


async def test_the_highest_version_that_was_seen_is_remembered(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await one.lead()
        await one.turn(deciding(record(epoch=5)), CALM)
        stored = one.records.stored
        assert stored is not None
        assert decode(stored.body, Record).epoch == 5
        assert one.loop.cases[SHOP].revision == stored.mod_revision
        assert Version(5, 1) == one.loop._highest_seen.of(SHOP)


class Ended(Exception):
    """Stands for the end of the process."""


def end() -> None:
    raise Ended


@pytest.mark.parametrize(
    ("text", "last"),
    [
        pytest.param("save:2", "saved", id="after_the_second_save"),
        pytest.param("after_save:PROMOTING", "saved", id="after_a_save"),
        pytest.param("before_dispatch:PROMOTING", "decided", id="before_the_assignments_leave"),
        pytest.param("after_dispatch:PROMOTING", "assigned 2", id="after_the_assignments_left"),
    ],
)
async def test_a_failpoint_ends_the_process_exactly_there(tmp_path: Path, text: str, last: str) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with shell(tmp_path, failpoints=Failpoints(text, end)) as one:
            await one.lead()
            await one.turn(deciding(record(2, Phase.SEALING)), deciding(assign=1))
            try:
                await one.turn(deciding(record(2, Phase.PROMOTING)), deciding(assign=2))
            finally:
                assert one.diary[-1] == last
    assert caught.group_contains(Ended)


async def test_in_a_large_fleet_who_has_news_does_not_stand_behind_all_that_a_tick_makes_decide(
    tmp_path: Path,
) -> None:
    turns: list[str] = []
    names = [ClusterName(f"calm{number}") for number in range(5)]

    class Slow(ScriptedEngine):
        """Each of its turns takes longer than beats may wait; the first one of a tick is when `calm4` has news."""

        def turn(self, now: Instant) -> Decision:
            node.clock.forward_ms(3)
            turns.append(self.cluster)
            if len(turns) == 1:
                node.inbox.put(names[4], SpecLoaded(node.clock.now(), spec_of()))
            return super().turn(now)

    async with shell(tmp_path, make_engine=lambda name: Slow(name, [])) as node:
        for name in names:
            node.inbox.put(name, SpecLoaded(node.clock.now(), spec_of()))
        await node.lead()
        await node.loop.run_turn()
        turns.clear()
        node.inbox.tick(Tick(node.clock.now()))
        await node.loop.run_turn()
        assert turns == [names[0], names[4], names[1], names[2], names[3]]
