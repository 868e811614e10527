"""The one probe commit, for as long as PostgreSQL is a primary (interfaces.md, "One probe commit").

It feeds what is reported of writing, the deadline (reason b), and the door: clients are let in when
`opening.may_open` says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import structlog

from agents.core.opening import Acknowledged, may_open
from agents.core.served import rule_served
from agents.core.state import AgentState
from agents.core.steps import StepFailed
from agents.epoch_store import EpochStore
from agents.facts_keeper import FactsKeeper
from agents.fencing import Fencing
from agents.hands import Hands
from agents.ports import Instance
from agents.postgres.probe_commit import ProbeOutcome
from common.assignment import Promote
from common.clock import Clock
from common.facts import PostgresState, WriteState
from common.lsn import ZERO
from common.profile import Profile
from common.rule import RuleKind
from common.timebase import elapsed_ms

log: Any = structlog.get_logger()

OPENING_EVERY_MS: Final = 20
OPENING_FOR_MS: Final = 5_000


def _is_being_promoted(state: AgentState) -> bool:
    done = state.promotion
    if state.assignment is None or not isinstance(state.assignment.order, Promote):
        return False
    return done is not None and done.epoch == state.serving_epoch and done.first_commit_lsn == ZERO


class Prober:
    def __init__(
        self,
        *,
        store: EpochStore,
        instance: Instance,
        hands: Hands,
        keeper: FactsKeeper,
        fencing: Fencing,
        clock: Clock,
        profile: Callable[[], Profile],
    ) -> None:
        self._store, self._instance, self._hands, self._keeper = store, instance, hands, keeper
        self._fencing, self._clock, self._profile = fencing, clock, profile
        self._wake = asyncio.Event()
        self._probed_as: object = None
        self.on_opened: Callable[[], None] = lambda: None

    def facts_changed(self) -> None:
        """Where that is the role or the rule, and no probe has begun since: probe now."""
        if self._probed_as != self._primacy():
            self._wake.set()

    def _primacy(self) -> object:
        state = self._store.current
        return self._instance.primary_since, rule_served(state), state.serving_epoch, state.promotion

    async def run(self) -> None:
        while True:
            begun_at = self._clock.now()
            self._wake.clear()
            opening = self._is_opening
            await self._probe_once(
                OPENING_EVERY_MS if opening else self._profile().stalled_after_ms, opening=opening
            )
            every_ms = OPENING_EVERY_MS if opening and self._is_opening else self._profile().probe_every_ms
            left_ms = every_ms - elapsed_ms(since=begun_at, now=self._clock.now())
            with suppress(TimeoutError):
                async with asyncio.timeout(max(left_ms, 5) / 1000):
                    await self._wake.wait()

    @property
    def _is_opening(self) -> bool:
        """Each millisecond until the door is open is an outage; after a while nothing but patience helps."""
        since = self._instance.primary_since
        if rule_served(self._store.current) is None or self._fencing.is_open:
            return False
        return since is None or elapsed_ms(since=since, now=self._clock.now()) < OPENING_FOR_MS

    async def _probe_once(self, within_ms: int, *, opening: bool) -> None:
        state = self._store.current
        rule = rule_served(state)
        since = self._instance.primary_since
        if not self._instance.probe_is_outstanding:  # else this only asks after one that began before
            self._probed_as = self._primacy()
        if rule is not None and _is_being_promoted(state):
            return  # R_new is stored and not in force: a commit under the fence would count for nothing, and hold up the next
        if rule is None or since is None:
            seen = self._keeper.seen
            if (
                seen.answered and seen.postgres is PostgresState.STANDBY
            ):  # one that starts has other things to do
                await self._instance.keep_probe_warm()
            return
        generation = self._hands.generation
        outcome = await self._instance.probe_commit(
            rule.synchronous_standby_names(state.serving_epoch), within_ms, opening=opening
        )
        stuck_ms = elapsed_ms(since=outcome.begun_at, now=self._clock.now())
        if outcome.state is WriteState.STALLED and stuck_ms < self._profile().stalled_after_ms:
            return  # asked after early: nothing is known yet
        if not outcome.acknowledged:
            self._keeper.probed(outcome)
            return
        if rule.kind is not RuleKind.ASYNC:
            self._fencing.extend(begun_at=outcome.begun_at, lease_ms=self._profile().lease_ms)
        if not self._fencing.is_open:
            await self._maybe_open(outcome, generation)
        if self._instance.primary_since == since:  # it may have died meanwhile: clients came first
            self._keeper.probed(outcome)

    async def _maybe_open(self, outcome: ProbeOutcome, generation: int) -> None:
        lease_ms = self._profile().lease_ms
        started_at, recovered_lsn = self._instance.primary_since, self._instance.end_of_recovery_lsn
        if started_at is None or recovered_lsn is None or outcome.end_lsn is None:
            return
        state = self._store.current
        promotion = state.promotion
        switch_lsn = (
            promotion.switch_lsn if promotion is not None and promotion.epoch == state.serving_epoch else None
        )
        try:
            evidence = Acknowledged(outcome.begun_at, outcome.end_lsn)
            if not may_open(
                evidence, started_at=started_at, end_of_recovery_lsn=recovered_lsn, switch_lsn=switch_lsn
            ):
                return
            opened = await self._hands.open(
                generation,
                lambda: (
                    rule_served(self._store.current) is not None
                    and self._fencing.opens(begun_at=outcome.begun_at, lease_ms=lease_ms)
                ),
            )
        except StepFailed as failure:
            log.warning("door.not_opened", why=str(failure))
            return
        if opened:
            log.info("door.opened", epoch=state.serving_epoch)
            self.on_opened()
