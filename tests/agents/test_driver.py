"""The order of things: durable first, one step at a time, give way to what is newer."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents.core.state import AgentState
from agents.core.steps import Clone, Look, Sight, Step, StepFailed, StopPostgres
from agents.driver import Driver
from agents.epoch_store import EpochStore
from agents.facts_keeper import FactsKeeper
from agents.fencing import Fencing
from agents.hands import Hands
from agents.postgres.facts import PartialFacts
from agents.prober import Prober
from common.assignment import (
    AnyOrder,
    Assignment,
    Follow,
    Position,
    Promote,
    Rebuild,
    Seal,
    Serve,
    Upstream,
    Version,
    Wait,
)
from common.facts import PostgresState, Promotion, WriteState
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import ZERO, Lsn
from common.profile import FAST
from common.rule import SOLO
from common.timebase import Instant
from tests.agents.fake_instance import FakeClock, FakeInstance, acknowledged

ME = IncarnationId("a" * 16)
CLONE_NOT_YET = Follow(Upstream(MemberName("b"), "10.0.0.2", 5432), 1, (), awaited=True)
CLONE = Follow(Upstream(MemberName("b"), "10.0.0.2", 5432), 1, (), Rebuild(None))


def assignment(epoch: int, revision: int, order: AnyOrder) -> Assignment:
    return Assignment(ClusterName("shop"), MemberName("a"), ME, 1, Version(epoch, revision), "7", order)


class Shell:
    def __init__(self, folder: Path) -> None:
        self.clock, self.instance, self.profile = FakeClock(), FakeInstance(), FAST
        self.store = EpochStore.open(folder)
        self.store.save_now(AgentState(ClusterName("shop"), MemberName("a"), ME))
        self.keeper = FactsKeeper(self.store.current, self.clock)
        self.hands = Hands(self.instance)
        self.fencing = Fencing(self.clock, self.hands, lambda: FAST)
        self.hands.on_shut = self.fencing.shut
        self.driver = Driver(self.store, self.hands, self.keeper, lambda: FAST, self.clock)
        self.prober = Prober(
            store=self.store,
            instance=self.instance,
            hands=self.hands,
            keeper=self.keeper,
            fencing=self.fencing,
            clock=self.clock,
            profile=lambda: self.profile,
        )

    async def until(self, kind: type[Step]) -> None:
        async with asyncio.timeout(10):
            while not any(isinstance(step, kind) for step in self.instance.performed):
                await asyncio.sleep(0.002)


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    made = Shell(tmp_path)
    running = asyncio.ensure_future(made.driver.run())
    yield made
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    made.store.close()


async def test_an_order_that_can_not_be_stored_is_not_obeyed_and_the_agent_goes_on(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = shell.store.current
    with monkeypatch.context() as broken:
        broken.setattr(shell.store, "_replace", full)
        await shell.driver.consider(assignment(2, 1, Seal()))
        assert shell.store.current == before
        assert "could not be stored" in shell.keeper.facts().error
        with pytest.raises(StepFailed, match="could not be stored"):
            await shell.driver.remember({"rebuilding": "clone"})
    await shell.driver.consider(assignment(2, 1, Seal()))
    assert shell.store.current.obeyed == Version(2, 1)


async def test_an_order_is_durable_before_anything_is_done_about_it(shell: Shell) -> None:
    stored: list[Version] = []
    shell.instance.on_step = lambda step: stored.append(shell.store.current.obeyed)
    await shell.until(Look)
    stored.clear()
    await shell.driver.consider(assignment(2, 20, Seal()))
    async with asyncio.timeout(10):
        while not stored:
            await asyncio.sleep(0.002)
    assert stored[0] == Version(2, 20)
    assert shell.store.current.sealed_epoch == 2


@pytest.mark.parametrize(
    ("order", "there", "said", "wakes"),
    [
        pytest.param(
            CLONE_NOT_YET, PostgresState.ABSENT, "there is no data directory yet", False, id="at_rest"
        ),
        pytest.param(
            Seal(), PostgresState.ABSENT, "can't seal: there is no data directory", True, id="it_can_not"
        ),
        pytest.param(Seal(), PostgresState.STOPPED, "no answer", True, id="it_failed"),
    ],
)
async def test_an_order_that_asks_for_nothing_new_is_obeyed_and_nothing_is_looked_at(
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    order: AnyOrder,
    there: PostgresState,
    said: str,
    wakes: bool,
) -> None:
    """Each save of a failover would have every member look again, beside those that have something to do."""
    shell.instance.sight = Sight(there, "7")
    shell.instance.fails = "no answer"
    await shell.driver.consider(assignment(2, 20, order))
    async with asyncio.timeout(10):
        while said not in (shell.keeper.facts().error, shell.keeper.facts().rebuild_needed):
            await asyncio.sleep(0.002)
    woken = list[Version]()
    monkeypatch.setattr(shell.driver, "wake", lambda: woken.append(shell.store.current.obeyed))
    await shell.driver.consider(assignment(2, 21, order))
    assert shell.store.current.obeyed == Version(2, 21)
    assert woken == ([Version(2, 21)] if wakes else [])
    await shell.driver.consider(assignment(3, 30, Seal()))
    assert woken[-1] == Version(3, 30)


async def test_a_lower_order_and_one_for_another_incarnation_change_nothing(shell: Shell) -> None:
    await shell.driver.consider(assignment(2, 20, Wait()))
    before = shell.store.current
    await shell.driver.consider(assignment(1, 99, Wait()))
    other = assignment(3, 30, Wait())
    await shell.driver.consider(
        Assignment(other.cluster, other.member, IncarnationId("b" * 16), 2, other.version, "7", other.order)
    )
    assert shell.store.current == before
    assert shell.driver.refused_count == 2


async def test_a_clone_under_way_is_cut_off_by_a_seal(shell: Shell) -> None:
    shell.instance.hangs_at = Clone
    await shell.driver.consider(assignment(1, 10, CLONE))
    async with asyncio.timeout(10):
        await shell.instance.hung.wait()
    assert shell.store.current.rebuilding == "clone"
    await shell.driver.consider(assignment(2, 20, Seal()))
    async with asyncio.timeout(10):
        while "can't seal" not in shell.keeper.facts().error:
            await asyncio.sleep(0.002)


async def test_a_failed_step_is_reported_and_tried_again(shell: Shell) -> None:
    shell.instance.fails = "the disk does not answer"
    await shell.driver.consider(assignment(1, 10, CLONE))
    async with asyncio.timeout(10):
        while [type(s) for s in shell.instance.performed].count(StopPostgres) < 2:
            await asyncio.sleep(0.01)
    assert shell.keeper.facts().error == "the disk does not answer"


async def test_at_rest_nothing_is_done_to_postgres(shell: Shell) -> None:
    await shell.until(Look)
    shell.driver.rest()
    await asyncio.sleep(0.02)
    shell.instance.performed.clear()
    await shell.driver.consider(assignment(1, 10, CLONE))
    await asyncio.sleep(0.05)
    assert shell.instance.performed == []


async def primary(shell: Shell) -> None:
    state = replace(
        shell.store.current,
        assignment=assignment(1, 10, Serve(1, SOLO)),
        obeyed=Version(1, 10),
        serving_rule=SOLO,
        serving_epoch=1,
    )
    shell.driver.rest()
    await asyncio.sleep(0)
    shell.store.save_now(state)
    shell.instance.primary_since = shell.clock.now()
    shell.instance.sight = Sight(PostgresState.PRIMARY)
    shell.instance.end_of_recovery_lsn = Lsn(100)


@pytest.mark.parametrize(
    ("begun_ms_after_start", "end_lsn", "opens"),
    [
        pytest.param(1, 101, True, id="past_the_end_of_recovery"),
        pytest.param(1, 100, False, id="not_past_it"),
        pytest.param(-1, 101, False, id="begun_before_the_start"),
    ],
)
async def test_the_door_opens_on_a_commit_of_this_start(
    shell: Shell, begun_ms_after_start: int, end_lsn: int, opens: bool
) -> None:
    await primary(shell)
    begun_at = shell.clock.now() + begun_ms_after_start * 1000
    shell.instance.probe = acknowledged(type(shell.clock.now())(begun_at), end_lsn)
    shell.clock.pass_ms(5)
    probing = asyncio.ensure_future(shell.prober.run())
    await asyncio.sleep(0.1)
    probing.cancel()
    assert shell.fencing.is_open is opens


async def _open_and_probed(shell: Shell) -> asyncio.Task[None]:
    """Nothing but a wake begins another probe from here on."""
    shell.profile = dataclasses.replace(FAST, probe_every_ms=3_600_000)
    await primary(shell)
    begun_at = Instant(shell.clock.now() + 1_000)
    shell.instance.probe = acknowledged(begun_at, 101)
    shell.clock.pass_ms(5)
    probing = asyncio.ensure_future(shell.prober.run())
    async with asyncio.timeout(10):
        while not shell.fencing.is_open:
            await asyncio.sleep(0.001)
        while shell.keeper.facts().write_state is not WriteState.ACKNOWLEDGED:
            await asyncio.sleep(0.001)
    shell.instance.probed.clear()
    return probing


async def _turns(count: int = 100) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_probe_begins_before_the_rule_of_a_promotion_is_in_force(shell: Shell) -> None:
    """It would be a commit under the fence, which counts for nothing, and the one that opens would wait behind it."""
    probing = await _open_and_probed(shell)
    promotion = Promotion(1, 1, Lsn(50), ZERO)
    promoted = assignment(1, 10, Promote(1, Position(1, Lsn(50)), SOLO))
    shell.store.save_now(replace(shell.store.current, assignment=promoted, promotion=promotion))
    shell.prober.facts_changed()
    await _turns()
    assert not shell.instance.probed.is_set()
    shell.store.save_now(replace(shell.store.current, promotion=replace(promotion, first_commit_lsn=Lsn(60))))
    shell.prober.facts_changed()
    async with asyncio.timeout(10):
        await shell.instance.probed.wait()
    probing.cancel()


async def test_facts_that_are_neither_role_nor_rule_begin_no_probe(shell: Shell) -> None:
    """Those that an opened door brings would have two more begin, just when clients come back."""
    probing = await _open_and_probed(shell)
    shell.prober.facts_changed()
    await _turns()
    assert not shell.instance.probed.is_set()
    shell.instance.primary_since = Instant(shell.clock.now() + 1)
    shell.prober.facts_changed()
    async with asyncio.timeout(10):
        await shell.instance.probed.wait()
    probing.cancel()


async def test_one_that_was_only_asked_after_is_no_probe_of_the_new_rule(shell: Shell) -> None:
    probing = await _open_and_probed(shell)
    shell.instance.probe_is_outstanding = True  # it began under the old one
    shell.instance.primary_since = Instant(shell.clock.now() + 1)
    for _ in range(2):
        shell.instance.probed.clear()
        shell.prober.facts_changed()
        async with asyncio.timeout(10):
            await shell.instance.probed.wait()
    probing.cancel()


@pytest.mark.covers("S34")
async def test_an_open_primary_without_reasons_is_stopped_before_its_deadline(shell: Shell) -> None:
    await primary(shell)
    shell.fencing.opens(begun_at=shell.clock.now(), lease_ms=1_000)
    fencing = asyncio.ensure_future(shell.fencing.run())
    shell.clock.pass_ms(499)  # the margin is 500
    shell.fencing.extend(begun_at=shell.clock.now(), lease_ms=1_000)
    await asyncio.sleep(0.02)
    assert shell.fencing.is_open
    shell.clock.pass_ms(500)
    await shell.until(StopPostgres)
    assert shell.fencing.deadline_at is None
    fencing.cancel()


async def test_a_final_deadline_is_not_extended(shell: Shell) -> None:
    shell.fencing.opens(begun_at=shell.clock.now(), lease_ms=1_000)
    before = shell.fencing.deadline_at
    shell.clock.pass_ms(500)
    shell.fencing.extend(begun_at=shell.clock.now(), lease_ms=1_000)
    assert shell.fencing.deadline_at == before


async def test_a_step_that_waits_for_its_turn_is_cut_off_as_well(shell: Shell) -> None:
    shell.driver.rest()
    await asyncio.sleep(0)
    shell.instance.hangs_at = Look
    looking = asyncio.ensure_future(shell.hands.perform(Look()))
    async with asyncio.timeout(10):
        await shell.instance.hung.wait()
    cloning = asyncio.ensure_future(shell.hands.perform(Clone(CLONE.upstream), may_be_cut_off=True))
    await asyncio.sleep(0)
    shell.hands.cut_off()
    looking.cancel()
    with pytest.raises(StepFailed, match="cut off"):
        await cloning
    assert not any(isinstance(step, Clone) for step in shell.instance.performed)


async def test_a_rule_is_told_to_the_guard_when_it_is_stored_and_before_it_is_put_in_force(
    shell: Shell,
) -> None:
    told: list[str] = []
    shell.driver.on_rule_stored = lambda: told.append(
        f"{shell.store.current.serving_rule} after {[type(step).__name__ for step in shell.instance.performed]}"
    )
    shell.driver.rest()
    await asyncio.sleep(0)
    shell.instance.performed.clear()
    await shell.driver.remember({"rebuilding": "clone"})
    assert told == []
    await shell.driver.remember({"serving_rule": SOLO, "serving_epoch": 1})
    assert told == [f"{SOLO} after []"]


@pytest.mark.parametrize(
    ("seen", "is_warmed"),
    [
        pytest.param(PartialFacts(PostgresState.STANDBY, answered=True), True, id="a_standby"),
        pytest.param(PartialFacts(PostgresState.STANDBY), False, id="one_that_did_not_answer"),
        pytest.param(PartialFacts(PostgresState.STARTING, answered=True), False, id="one_that_recovers"),
        pytest.param(PartialFacts(PostgresState.STOPPED, answered=True), False, id="one_that_is_down"),
    ],
)
async def test_only_a_standby_that_answers_keeps_its_probe_warm(
    shell: Shell, seen: PartialFacts, is_warmed: bool
) -> None:
    shell.keeper.measured(seen)
    probing = asyncio.ensure_future(shell.prober.run())
    await asyncio.sleep(0.01)
    probing.cancel()
    assert (shell.instance.warmed_count > 0) is is_warmed
