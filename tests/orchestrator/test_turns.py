"""Whose turn it is, in a fleet of many clusters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec import structs

from common.ids import ClusterName, MemberName
from common.timebase import Instant, after_ms
from orchestrator.core.decision import Listened
from orchestrator.core.engine import Engine
from orchestrator.core.events import BeatHeard, SpecLoaded
from orchestrator.shell.case import Case
from orchestrator.shell.turns import CALM_AT_A_TICK, CALM_EVERY_MS, TICK_MS, Turns
from tests.orchestrator.beats import beat
from tests.orchestrator.control_node import spec_of
from tests.orchestrator.fakes import CALM, SHOP, TERM, A, deciding, record, shell

NOW = Instant(5_000_000)


def at_tick(number: int) -> Instant:
    return Instant(NOW + number * TICK_MS * 1000)


def calm_cases(count: int) -> tuple[dict[ClusterName, Case], Turns]:
    names = [ClusterName(f"c{number:04d}") for number in range(count)]
    cases = {name: Case(name, Engine(name), decision=CALM) for name in names}
    turns = Turns(cases)
    for case in cases.values():
        turns.note(case)
    return cases, turns


def test_few_calm_clusters_all_have_a_turn_at_each_tick() -> None:
    cases, turns = calm_cases(CALM_AT_A_TICK)
    assert {case.cluster for case in turns.due(NOW, (), is_tick=True)} == set(cases)


def test_of_many_calm_clusters_each_has_its_turn_within_a_round_of_ticks() -> None:
    for count, ticks in ((3 * CALM_AT_A_TICK, 3), (32 * CALM_AT_A_TICK, CALM_EVERY_MS // TICK_MS)):
        cases, turns = calm_cases(count)
        seen = [case.cluster for tick in range(ticks) for case in turns.due(at_tick(tick), (), is_tick=True)]
        assert len(seen) == len(set(seen)) == len(cases)


def test_ticks_that_come_more_often_do_not_hurry_the_calm_ones() -> None:
    _, turns = calm_cases(32 * CALM_AT_A_TICK)
    turns.due(NOW, (), is_tick=True)
    seen = [turns.due(Instant(NOW + 50_000 * tick), (), is_tick=True) for tick in range(1, 6)]
    assert sum(map(len, seen)) == 2 * CALM_AT_A_TICK


def test_one_that_is_not_calm_has_a_turn_at_every_tick() -> None:
    cases, turns = calm_cases(10 * CALM_AT_A_TICK)
    restless = cases[ClusterName("c0999")]
    restless.decision = deciding(record())
    restless.record = record(rules=record().rules * 2)
    turns.note(restless)
    assert all(restless in turns.due(NOW, (), is_tick=True) for _ in range(3))
    assert turns.any_busy


def test_a_cluster_is_due_at_its_own_time_without_any_tick() -> None:
    cases, turns = calm_cases(3)
    case = cases[ClusterName("c0001")]
    case.again_at = Instant(NOW + 1_000)
    turns.note(case)
    assert turns.next_at() == case.again_at
    assert turns.due(NOW, (), is_tick=False) == []
    assert turns.due(case.again_at, (), is_tick=False) == [case]
    assert turns.next_at() is None or turns.due(case.again_at, (), is_tick=False) == []


@dataclass
class Spoken:
    """When the primary said the same as before, where everybody did."""

    at: Instant | None = None

    def quiet_of(self, _cluster: ClusterName) -> list[BeatHeard]:
        return []

    def all_speak(self, _cluster: ClusterName, _member: MemberName) -> Instant | None:
        return self.at


async def test_where_everybody_spoke_the_time_of_a_calm_cluster_moves_on_without_a_turn(
    tmp_path: Path,
) -> None:
    spoken = Spoken()
    async with shell(tmp_path, quiet=spoken) as one:
        await one.lead()
        heard_at = one.clock.now()
        listening = structs.replace(
            CALM, listened=Listened(A, heard_at), again_at_us=after_ms(heard_at, 2_000)
        )
        await one.turn(listening)
        decided = one.diary.count("decided")
        one.clock.forward_ms(2_000)
        spoken.at = after_ms(heard_at, 1_900)
        await one.loop.run_turn()
        assert one.diary.count("decided") == decided
        assert one.loop.cases[SHOP].again_at == after_ms(heard_at, 3_900)
        one.clock.forward_ms(1_899)
        spoken.at = None
        await one.loop.run_turn()
        assert one.diary.count("decided") == decided
        one.clock.forward_ms(1)
        await one.loop.run_turn()
        assert one.diary.count("decided") == decided + 1


@pytest.mark.parametrize("other", ["no_silence_is_due", "what_was_heard_is_too_old", "something_waits"])
async def test_a_cluster_decides_at_its_own_time_all_the_same_where(tmp_path: Path, other: str) -> None:
    spoken = Spoken()
    async with shell(tmp_path, quiet=spoken) as one:
        await one.lead()
        heard_at = one.clock.now()
        listened = None if other == "no_silence_is_due" else Listened(A, heard_at)
        listening = structs.replace(CALM, listened=listened, again_at_us=after_ms(heard_at, 2_000))
        await one.turn(listening)
        decided = one.diary.count("decided")
        one.clock.forward_ms(2_000)
        spoken.at = heard_at if other == "what_was_heard_is_too_old" else after_ms(heard_at, 1_900)
        if other == "something_waits":
            one.inbox.put(SHOP, BeatHeard(one.clock.now(), beat(sequence=1)))
            one.inbox.calls()
        await one.loop.run_turn()
        assert one.diary.count("decided") == decided + 1


async def test_a_cluster_that_waits_for_etcd_keeps_no_other_from_deciding(tmp_path: Path) -> None:
    async with shell(tmp_path) as one:
        await one.lead()
        gate = asyncio.Event()
        save = one.records.save

        async def slowly(*args: object) -> int:
            await gate.wait()
            return await save(*args)  # type: ignore[arg-type]

        one.records.save = slowly  # type: ignore[method-assign, assignment]
        one.engine.script.append(deciding(record()))
        running = asyncio.create_task(one.loop.run())
        one.inbox.put(SHOP, SpecLoaded(one.clock.now(), spec_of()))
        await asyncio.sleep(0.01)
        assert one.loop.cases[SHOP].is_turning
        other = ClusterName("other")
        before = one.diary.count("decided")
        one.inbox.put(other, SpecLoaded(one.clock.now(), spec_of()))
        await asyncio.sleep(0.01)
        assert one.loop.cases[SHOP].is_turning
        assert one.diary.count("decided") > before
        gate.set()
        await asyncio.sleep(0.01)
        assert not one.loop.cases[SHOP].is_turning
        running.cancel()


async def test_a_term_begins_only_when_the_turns_of_the_one_before_have_ended(tmp_path: Path) -> None:
    """What they save or order was decided under that one."""
    async with shell(tmp_path) as one:
        await one.lead()
        gate = asyncio.Event()
        save = one.records.save

        async def slowly(*args: object) -> int:
            await gate.wait()
            return await save(*args)  # type: ignore[arg-type]

        one.records.save = slowly  # type: ignore[method-assign, assignment]
        one.engine.script.extend([deciding(record()), deciding(assign=9)])
        running = asyncio.create_task(one.loop.run())
        one.inbox.put(SHOP, SpecLoaded(one.clock.now(), spec_of()))
        await asyncio.sleep(0.01)
        one.loop.lead(None)
        one.loop.lead(type(TERM)(create_revision=9, key="election", lease_id=2))
        await asyncio.sleep(0.01)
        assert [one.loop.leads] == [False]
        gate.set()
        await asyncio.sleep(0.01)
        assert one.loop.leads
        assert one.loop.cases[SHOP].told_of_term == 9
        running.cancel()
