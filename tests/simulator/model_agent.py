"""An agent in virtual time: the production core's recipes, performed on the model PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from agents.core import steps as st
from agents.core.asking import Recipe
from agents.core.obey import Obeyed, consider
from agents.core.opening import Acknowledged, may_open
from agents.core.recipes import begin, supersedes
from agents.core.state import AgentState
from common.assignment import Assignment, Position
from common.facts import Facts, Peer, PostgresState, RuleConfirmation, WriteState
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import Lsn
from common.profile import Profile
from common.timebase import Instant
from tests.simulator.agent_steps import perform
from tests.simulator.model_postgres import Postgres
from tests.simulator.world import World


class Agent:
    def __init__(
        self,
        world: World,
        cluster: str,
        name: str,
        postgres: Postgres,
        profile: Profile,
        send: Callable[[Agent], None],
    ) -> None:
        self.world, self.name, self.postgres, self.profile = world, name, postgres, profile
        self.cluster = cluster
        self.send = send
        self.may_boot: Callable[[], bool] = lambda: True
        """Whether its host is on."""
        self.alive = True
        self.boot = 0
        self.durable: AgentState | None = None
        self.state = self._fresh()
        self.fuse = 0
        """The agent dies at the end of so many steps, before or after what they do; then it comes back."""
        self.boot_up()

    # What lasts, and what does not

    def _fresh(self) -> AgentState:
        incarnation = IncarnationId(f"{self.world.dice.getrandbits(64):016x}")
        return AgentState(
            ClusterName(self.cluster), MemberName(self.name), incarnation, promotion_signalled=True
        )

    def boot_up(self) -> None:
        self.boot += 1
        self.alive = True
        if self.durable is None:
            self.durable = self._fresh()
        self.state = self.durable
        self.told = st.Tell()
        self.end_of_wal: Position | None = None
        self.confirmation: RuleConfirmation | None = None
        self.recipe: Recipe[None] | None = None
        self.running_for: Assignment | None = None
        self.step: st.Step | None = None
        self.close_at_boundary = False
        self.open = False
        self.started_at = self.world.now
        self.first_write_at: Instant | None = None
        self.first_write_epoch = 0
        self.last_write_at: Instant | None = None
        self.write_pending_since: Instant | None = None
        boot = self.boot
        self.world.after(self.world.between(0, 100_000), lambda: self._beat(boot))
        self.world.after(self.world.between(0, 500_000), lambda: self._probe(boot))
        self.world.after(self.world.between(0, 50_000), lambda: self._begin(boot))

    def die(self) -> None:
        """The agent alone: PostgreSQL goes on."""
        if self.recipe is not None:
            self.world.count("crashes between two durable steps")
        self.alive = False
        self.recipe = None

    def _burn(self, act: Callable[[], object]) -> None:
        """Killed in the middle: the step was done, or it was not."""
        if self.world.chance(500):
            try:
                act()
            except st.StepFailed:
                pass
        self.die()
        boot = self.boot
        delay_us = self.world.between(1_000, 1_500_000)
        self.world.after(delay_us, lambda: self.boot_up() if boot == self.boot and self.may_boot() else None)

    def forget(self) -> None:
        """Its state is lost."""
        self.die()
        self.durable = None

    def store(self, state: AgentState) -> None:
        assert self.durable is None or state.obeyed >= self.durable.obeyed, "I9: the obeyed pair went back"
        if state.obeyed.epoch != self.state.obeyed.epoch:
            self.told = st.Tell()
        self.state = self.durable = state

    # Orders

    def receive(self, assignment: Assignment) -> None:
        if not self.alive:
            return
        verdict = consider(self.state, assignment)
        if not isinstance(verdict, Obeyed):
            return
        self.store(verdict.state)
        if self.recipe is None:
            self._begin(self.boot)
        elif supersedes(self.running_for, assignment):
            if isinstance(self.step, st.Pause):
                self.recipe.close()
                self._again(100)
            else:
                self.close_at_boundary = True

    def _begin(self, boot: int) -> None:
        if boot != self.boot or not self.alive or self.recipe is not None:
            return
        self.recipe = begin(self.state, self.profile)
        self.running_for = self.state.assignment
        self.close_at_boundary = False
        self._advance(self.recipe, None, first=True)

    def _again(self, delay_us: int) -> None:
        boot = self.boot
        self.recipe = None
        self.world.after(delay_us, lambda: self._begin(boot))
        self.send(self)

    def _advance(
        self,
        recipe: Recipe[None],
        outcome: object,
        *,
        first: bool = False,
        failure: st.StepFailed | None = None,
    ) -> None:
        if recipe is not self.recipe or not self.alive:
            return
        if self.close_at_boundary:
            recipe.close()
            self._again(100)
            return
        try:
            if failure is not None:
                step = recipe.throw(failure)
            else:
                step = next(recipe) if first else recipe.send(outcome)
        except StopIteration:
            self._again(1_000_000)
            return
        except st.StepFailed as ended:
            self.told = replace(self.told, error=str(ended))
            self._again(200_000)
            return
        self.step = step
        delay_us, act = perform(self, step)
        boot = self.boot

        def finish() -> None:
            if boot != self.boot or not self.alive or recipe is not self.recipe:
                return
            if self.fuse:
                self.fuse -= 1
                if not self.fuse:
                    self._burn(act)
                    return
            try:
                answer = act()
            except st.StepFailed as failed:
                self._advance(recipe, None, failure=failed)
                return
            self._advance(recipe, answer)

        self.world.after(delay_us, finish)

    # Being heard

    def facts(self) -> Facts:
        pg, now = self.postgres, self.world.now
        if pg.receiver is not None and pg.receiver.sender.streaming:
            self.end_of_wal = None
        primary = pg.state is PostgresState.PRIMARY
        age = None if self.last_write_at is None else (now - self.last_write_at) // 1000
        first = self.first_write_epoch == self.state.obeyed.epoch and self.first_write_at is not None
        waiting = (
            primary and self.write_pending_since is not None and now - self.write_pending_since > 300_000
        )
        return Facts(
            cluster=self.state.cluster,
            member=self.state.member,
            incarnation=self.state.incarnation,
            obeyed=self.state.obeyed,
            system_identifier=pg.system_identifier,
            postgres=PostgresState.HALF if self.state.rebuilding else pg.state,
            postmaster_alive=pg.running,
            open=self.open and primary,
            timeline=pg.timeline,
            history=pg.history,
            flushed_lsn=Lsn(pg.flushed_end),
            replayed_lsn=Lsn(pg.flushed_end),
            insert_lsn=Lsn(pg.end),
            end_of_wal=self.end_of_wal,
            rule_confirmation=self.confirmation,
            promotion=self.state.promotion,
            promotion_failed=self.told.promotion_failed,
            seal=self.state.seal,
            peers=tuple(
                Peer(s.name, "streaming" if s.streaming else "startup", Lsn(s.flushed))
                for s in pg.senders
                if s.alive
            ),
            receiver_alive=pg.receiver is not None,
            received_age_ms=(now - pg.receiver.received_at) // 1000 if pg.receiver is not None else None,
            write_state=WriteState.WAITING
            if waiting
            else WriteState.ACKNOWLEDGED
            if primary
            else WriteState.NONE,
            write_age_ms=age if primary else None,
            first_write_age_ms=(now - self.first_write_at) // 1000 if first and self.first_write_at else None,
            rebuild_needed=self.told.rebuild_needed,
            error=self.told.error,
            highest_version=self.state.obeyed,
        )

    def _beat(self, boot: int) -> None:
        if boot != self.boot or not self.alive:
            return
        self.send(self)
        primary = self.postgres.state is PostgresState.PRIMARY
        every_ms = self.profile.beat_primary_every_ms if primary else self.profile.beat_standby_every_ms
        self.world.after(every_ms * 1_000, lambda: self._beat(boot))

    # The probe commit, and the door

    def _probe(self, boot: int) -> None:
        if boot != self.boot or not self.alive:
            return
        self.world.after(self.profile.probe_every_ms * 1_000, lambda: self._probe(boot))
        self.probe_now()

    def probe_now(self) -> None:
        pg, state = self.postgres, self.state
        if pg.state is not PostgresState.PRIMARY or state.serving_rule is None:
            return
        if self.write_pending_since is not None and self.world.now - self.write_pending_since < 400_000:
            return
        expected = state.serving_rule.synchronous_standby_names(state.serving_epoch)
        if pg.loaded_rule != expected:
            return
        begun_at, run, boot = self.world.now, pg.run, self.boot
        self.write_pending_since = begun_at

        def acknowledged() -> None:
            if boot != self.boot or run != pg.run:
                return
            self.write_pending_since = None
            self.last_write_at = begun_at
            if self.first_write_epoch != self.state.obeyed.epoch:
                self.first_write_epoch, self.first_write_at = self.state.obeyed.epoch, self.world.now
            promotion = self.state.promotion
            evidence = Acknowledged(begun_at, Lsn(entry.end) if entry is not None else Lsn(0))
            switch = promotion.switch_lsn if promotion is not None else None
            if not self.open and may_open(
                evidence,
                started_at=self.started_at,
                end_of_recovery_lsn=Lsn(pg.end_of_recovery),
                switch_lsn=switch,
            ):
                self.open = True
                self.send(self)

        entry = None
        entry = pg.commit(0, lambda: self.world.after(0, acknowledged))

    def postmaster_died(self) -> None:
        self.open = False
        self.write_pending_since = None
        if self.alive:
            self.send(self)
            if self.recipe is None:
                self._begin(self.boot)
