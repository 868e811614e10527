"""Drives the recipe of the order last obeyed: one step after the other, begun anew when it must be.

What is obeyed is durable before anything is done about it (R7). The recipe's generator decides, the
instance does; here is only the order of things: store, tell, perform, hear back. A recipe ends converged
or failed; either way it is begun anew: after a new order, a death of PostgreSQL, a growing pause after a
failure, a second otherwise.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import structlog
from msgspec.structs import replace

from agents.core import obey, recipes
from agents.core.asking import Recipe
from agents.core.state import AgentState
from agents.core.steps import (
    AwaitReplay,
    Checkpoint,
    Clone,
    ConfirmRule,
    DrawIncarnation,
    Initdb,
    Open,
    Outcome,
    Pause,
    PromotePostgres,
    Rewind,
    SeeCommitWait,
    StartPrimary,
    StartStandby,
    Step,
    StepFailed,
    Store,
    Tell,
)
from agents.epoch_store import EpochStore
from agents.facts_keeper import FactsKeeper
from agents.hands import Hands
from common.assignment import Assignment, Promote, Seal
from common.clock import Clock
from common.profile import Profile

log: Any = structlog.get_logger()

CONVERGED_EVERY_MS: Final = 1_000
ORDERS_WAITING_MAX: Final = 16
FAILED_FIRST_MS: Final = 200
FAILED_LONGEST_MS: Final = 2_000

# What may take long, and may be cut off for a seal or a promotion: each of them is begun anew or undone
# by what follows (a seal stops a member that was told to promote; a clone cut short is a state of its own).
_MAY_BE_CUT_OFF: Final = (
    AwaitReplay,
    Checkpoint,
    Clone,
    Rewind,
    StartStandby,
    StartPrimary,
    Pause,
    SeeCommitWait,
    PromotePostgres,
    Initdb,
)


def new_incarnation() -> str:
    return secrets.token_hex(8)


class Driver:
    def __init__(
        self,
        store: EpochStore,
        hands: Hands,
        keeper: FactsKeeper,
        profile: Callable[[], Profile],
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._store, self._hands, self._keeper, self._profile = store, hands, keeper, profile
        self._wake = asyncio.Event()
        self._orders: asyncio.Queue[Assignment] = asyncio.Queue(ORDERS_WAITING_MAX)
        self._running: Assignment | None = None
        self._give_way = False
        self._failures = 0
        self.refused_count = 0
        self._resting = False
        self._obeying = asyncio.Lock()
        self._pausing = asyncio.Event()
        self._ordered = asyncio.Event()
        self.on_rule_stored: Callable[[], None] = lambda: None
        """Before it is put in force: whoever commits under the rule while this agent is dead goes by the stored one."""

    def order(self, assignment: Assignment) -> None:
        """From the stream. Considered in a task of its own, so that the stream's end can't cut it in half."""
        try:
            self._orders.put_nowait(assignment)
        except asyncio.QueueFull:  # the leader repeats itself
            log.warning("order.dropped", epoch=assignment.version.epoch, revision=assignment.version.revision)

    async def consider_orders(self) -> None:
        while True:
            await self.consider(await self._orders.get())

    async def consider(self, assignment: Assignment) -> None:
        """An order came in. Durable first; then the running recipe gives way where it must."""
        async with self._obeying:
            before = self._store.current.assignment
            verdict = obey.consider(self._store.current, assignment)
            if isinstance(verdict, obey.RefusedOrder):
                log.warning(
                    "order.refused", reason=verdict.reason, kind=type(assignment.order).__name__.lower()
                )
                self.refused_count += 1
                return
            if isinstance(verdict, obey.Repeated):
                return
            state = verdict.state
            try:
                await self._store.save(state)
            except OSError as error:
                # Not obeyed, then; the leader says it again.
                log.error("order.not_stored", epoch=assignment.version.epoch, why=str(error))
                self._keeper.failed(f"an order could not be stored: {error}")
                return
        log.info(
            "order.obeyed",
            kind=type(assignment.order).__name__.lower(),
            epoch=assignment.version.epoch,
            revision=assignment.version.revision,
        )
        self._keeper.state_changed(state)
        urgent = isinstance(assignment.order, Seal | Promote)
        if recipes.supersedes(self._running, assignment):
            self._give_way = True
            self._pausing.set()
            if urgent:
                self._hands.cut_off()
        if self._keeper.has_trouble or not recipes.asks_the_same(before, assignment):
            self._ordered.set()
            self.wake()

    def wake(self) -> None:
        """Something happened: begin anew now instead of at the next second."""
        self._wake.set()

    def rest(self) -> None:
        """Nothing more is done to PostgreSQL: the guard is about to stop it, or to end this agent."""
        self._resting = True
        self._give_way = True
        self._pausing.set()
        self._hands.cut_off()
        self._wake.set()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            self._ordered.clear()
            if self._resting:
                await self._wake.wait()
                continue
            pause_ms = await self._run_recipe()
            # After a failure only a new order shortens the pause: a PostgreSQL that dies at each start
            # would otherwise be started without end.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_ms / 1000):
                    await (self._ordered if self._failures else self._wake).wait()

    async def _run_recipe(self) -> int:
        """Answers how long to wait before it is begun anew."""
        state = self._store.current
        self._running, self._give_way = state.assignment, False
        recipe = recipes.begin(state, self._profile())
        try:
            await self._drive(recipe)
        except StepFailed as failure:
            self._failures += 1
            self._keeper.failed(str(failure))
            log.warning("recipe.failed", order=_kind(state), why=str(failure), failures=self._failures)
            return min(FAILED_FIRST_MS << min(self._failures - 1, 8), FAILED_LONGEST_MS)
        finally:
            recipe.close()
            self._running = None
        if not self._give_way:
            self._failures = 0
            self._keeper.failed("")
        return 0 if self._give_way else CONVERGED_EVERY_MS

    async def _drive(self, recipe: Recipe[None]) -> None:
        outcome: Outcome = None
        failure: StepFailed | None = None
        while not self._give_way:
            try:
                step = recipe.send(outcome) if failure is None else recipe.throw(failure)
            except StopIteration:
                return
            outcome, failure = None, None
            begun_at = self._clock.now()
            try:
                outcome = await self._do(step)
            except StepFailed as error:
                failure = error
            took_us = self._clock.now() - begun_at
            log.debug("step.done", step=type(step).__name__, took_us=took_us, failed=str(failure or ""))

    async def _do(self, step: Step) -> Outcome:
        match step:
            case Store(changes=changes):
                return await self.remember(changes)
            case DrawIncarnation():
                return new_incarnation()
            case Tell():
                self._keeper.told(step)
                return None
            case ConfirmRule(barrier_lsn=barrier_lsn):
                assert self._running is not None
                self._keeper.rule_confirmed(self._running.version, barrier_lsn)
                return None
            case Open():
                raise AssertionError("only the prober opens")
            case Pause(pause_ms=pause_ms):
                await self._pause(pause_ms)
                return None
            case _:
                return await self._hands.perform(step, may_be_cut_off=isinstance(step, _MAY_BE_CUT_OFF))

    async def _pause(self, pause_ms: int) -> None:
        self._pausing.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_ms / 1000):
                await self._pausing.wait()

    async def remember(self, changes: Any, *, is_a_promise: bool = True) -> AgentState:
        """Raise StepFailed when it can't be stored. What is no promise takes none of the room that is kept for those."""
        async with self._obeying:
            state = replace(self._store.current, **changes)
            try:
                await self._store.save(state, is_a_promise=is_a_promise)
            except OSError as error:
                raise StepFailed(f"the agent's state could not be stored: {error}") from error
        self._keeper.state_changed(state)
        if "serving_rule" in changes:
            self.on_rule_stored()
        return state


def _kind(state: AgentState) -> str:
    return type(state.assignment.order).__name__.lower() if state.assignment is not None else "none"
