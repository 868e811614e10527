"""A member on real PostgreSQL whose orders are obeyed by the agent's own core, with its durable state.

What is not here: beats, streams, the guard, the leader's timing. A test gives the orders, in the sequence
that it is about, and may cut a recipe off before any step, as a crash of the agent would.
"""

from __future__ import annotations

import asyncio
from typing import Any, Self

from msgspec.structs import replace

from agents.core import obey, recipes
from agents.core.state import AgentState
from agents.core.steps import ConfirmRule, DrawIncarnation, Outcome, Pause, Step, StepFailed, Store, Tell
from agents.driver import new_incarnation
from agents.epoch_store import EpochStore
from common.assignment import AnyOrder, Assignment, Follow, HistoryStep, Promote, Rebuild, Seal, Version
from common.facts import SealReport
from common.lsn import Lsn
from common.profile import FAST
from common.rule import Rule, Voter
from tests.adapters.postgres.kit import CLUSTER, Member


class Driven:
    def __init__(self, member: Member, system_identifier: str) -> None:
        self.member = member
        self.number = 1
        self.told: list[Tell] = []
        self.confirmed: list[Lsn] = []
        self._system_identifier = system_identifier
        self._revision = 0
        self._store = self._opened()

    @classmethod
    async def of(cls, member: Member) -> Self:
        return cls(member, (await member.look()).system_identifier)

    @property
    def name(self) -> str:
        return str(self.member.config.member)

    @property
    def state(self) -> AgentState:
        return self._store.current

    @property
    def voter(self) -> Voter:
        return Voter(self.member.config.member, self.number)

    @property
    def seal(self) -> SealReport:
        assert self.state.seal is not None
        return self.state.seal

    def _opened(self) -> EpochStore:
        store = EpochStore.open(self.member.config.state_directory.parent / "epochs")
        if store.load(CLUSTER, self.member.config.member, wall_ms=0).state is None:
            store.save_now(self.member.state(system_identifier=self._system_identifier))
        return store

    def restart(self) -> None:
        """The agent, not PostgreSQL."""
        self._store.close()
        self._store = self._opened()

    def close(self) -> None:
        self._store.close()

    # Orders

    async def obey(
        self,
        epoch: int,
        order: AnyOrder,
        *,
        revision: int | None = None,
        incarnation: str = "",
        until: type[Step] | None = None,
    ) -> bool:
        """Whether the order is obeyed. Fulfilled until a step of this kind would come, or to its end."""
        self._revision += 1
        state = self.state
        assignment = Assignment(
            CLUSTER,
            state.member,
            type(state.incarnation)(incarnation or state.incarnation),
            self.number,
            Version(epoch, self._revision if revision is None else revision),
            self._system_identifier,
            order,
        )
        verdict = obey.consider(state, assignment)
        if isinstance(verdict, obey.RefusedOrder):
            return False
        if isinstance(verdict, obey.Obeyed):
            await self._store.save(verdict.state)
        await self.go_on(until)
        return True

    async def go_on(self, until: type[Step] | None = None) -> None:
        recipe = recipes.begin(self.state, FAST)
        outcome: Outcome = None
        failure: StepFailed | None = None
        try:
            while True:
                step = recipe.send(outcome) if failure is None else recipe.throw(failure)
                if until is not None and isinstance(step, until):
                    return
                outcome, failure = None, None
                try:
                    outcome = await self._do(step)
                except StepFailed as failed:
                    failure = failed
        except StopIteration:
            return
        finally:
            recipe.close()

    async def _do(self, step: Step) -> Outcome:
        match step:
            case Store(changes=changes):
                changed: Any = changes
                await self._store.save(replace(self.state, **changed))
                self.member.incarnation = self.state.incarnation
                return self.state
            case DrawIncarnation():
                return new_incarnation()
            case Tell():
                self.told.append(step)
                return None
            case ConfirmRule(barrier_lsn=barrier_lsn):
                self.confirmed.append(barrier_lsn)
                return None
            case Pause(pause_ms=pause_ms):
                await asyncio.sleep(pause_ms / 1000)
                return None
            case _:
                return await self.member.perform(step)

    # Orders as the leader would give them

    async def follow(
        self,
        upstream: Member,
        *,
        epoch: int = 1,
        timeline: int = 1,
        history: tuple[HistoryStep, ...] = (),
        rebuild: Rebuild | None = None,
    ) -> bool:
        return await self.obey(epoch, Follow(upstream.upstream, timeline, history, rebuild))

    async def be_sealed(self, epoch: int = 2, *, attempts: int = 20) -> SealReport:
        """A recipe that failed is begun anew, as the driver does it."""
        try:
            assert await self.obey(epoch, Seal())
        except StepFailed:
            if attempts == 1:
                raise
            await asyncio.sleep(0.05)
            return await self.be_sealed(epoch, attempts=attempts - 1)
        return self.seal

    def promotion(self, timeline: int, rule: Rule, slots: tuple[str, ...] = ()) -> Promote:
        return Promote(timeline, self.seal.position, rule, slots)
