"""An agent in virtual time: the production core's recipes, performed on the model PostgreSQL.

Its state is either there as it was stored last, or gone. State restored from an old copy is no fault that the
protocol bears: R7 compares with what was stored, and a store that goes back has forgotten its promises.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from agents.core import steps as st
from agents.core.asking import Recipe
from agents.core.lost import renewed, why_renewed
from agents.core.obey import Obeyed, consider
from agents.core.recipes import asks_the_same, begin, supersedes
from agents.core.served import rule_served
from agents.core.state import AgentState, FlushedMark, first_state
from common.assignment import Assignment, Position, Promote, Seal
from common.facts import Facts, PostgresState, RuleConfirmation
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import Lsn
from common.profile import Profile
from common.timebase import Instant, after_ms
from tests.simulator.agent_facts import facts_of
from tests.simulator.agent_steps import MAY_BE_CUT_OFF, perform, sight_of
from tests.simulator.model_guard import Guard, Report
from tests.simulator.model_host import Host
from tests.simulator.model_postgres import Postgres
from tests.simulator.model_prober import Prober
from tests.simulator.model_process import Process
from tests.simulator.world import World

_MARK_EVERY_US = 1_000_000


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
        self.send_beat = send
        """What the period sends; `send` is for what happened."""
        self.host = Host(world, name)
        self.host.agent, self.host.guard = self, Guard(self.host)
        postgres.host = self.host
        postgres.on_death = self.postmaster_died
        self.may_boot: Callable[[], bool] = lambda: True
        """Whether its host is on."""
        self.alive = False
        self.ready = False
        """It runs, and has reported to its guard."""
        self.boot = 0
        self.durable: AgentState | None = None
        self.state = self._fresh()
        self.prober = Prober(self)
        self.on_power_cut: Callable[[], None] = self.host.kill_both
        self.stalled_until = 0
        self.fuse = 0
        """The agent dies at the end of so many steps, before or after what they do; then it comes back."""
        self.unstartable = ""
        """Why no start of its PostgreSQL succeeds."""
        self.rewind_fails = False
        self.boot_up()
        self.host.guard.start(None)

    # Time, as its host has it

    @property
    def process(self) -> Process:
        return self.host.agent_process

    @property
    def now(self) -> Instant:
        return self.host.clock.now

    def after(self, own_us: int, happen: Callable[[], None]) -> None:
        self.host.agent_process.after(self.host.clock.world_us(own_us), happen)

    @property
    def disk_hangs_us(self) -> int:
        """How long what it stores, beside PostgreSQL's files, takes longer than usual."""
        return max(0, self.stalled_until - self.world.now_us)

    @property
    def open(self) -> bool:
        return self.postgres.lets_clients_in

    # What lasts, and what does not

    def _fresh(self) -> AgentState:
        incarnation = IncarnationId(f"{self.world.dice.getrandbits(64):016x}")
        return first_state(ClusterName(self.cluster), MemberName(self.name), incarnation)

    def begin_boot(self, boots_us: int) -> None:
        """Started by its guard; a program takes its time until it says anything."""
        boot = self.boot

        def up() -> None:
            if boot == self.boot and not self.alive and self.host.guard.alive and self.may_boot():
                self.boot_up()

        self.world.after(boots_us, up)

    def boot_up(self) -> None:
        self.boot += 1
        self.alive = self.ready = True
        if self.durable is None:
            self.durable = self._fresh()
        self.state = self.durable
        self._renew_if_lost()
        self.told, self.failure = st.Tell(), ""
        self.end_of_wal: Position | None = None
        self.confirmation: RuleConfirmation | None = None
        self.recipe: Recipe[None] | None = None
        self.running_for: Assignment | None = None
        self.step: st.Step | None = None
        self.close_at_boundary = False
        self.ordered = False
        """An order came while the recipe of another one went on to its end: then nothing is waited for."""
        self.saw_crash = False
        self.generation = 0
        """Counts each shutting of the door (agents/hands.py)."""
        self.booted_at = self.now
        self.marked_at = self.now
        self.prober = Prober(self)
        self._adopt()
        self.host.guard.hear(self.prober.report())
        boot = self.boot
        self.after(self.world.between(0, 100_000), lambda: self._beat(boot))
        self.after(self.world.between(0, 50_000), lambda: self._begin(boot))
        self.prober.wake()

    def _renew_if_lost(self) -> None:
        why = why_renewed(self.state, sight_of(self))
        if why:
            self.world.count("data directories found lost")
            self.store(renewed(self.state, IncarnationId(f"{self.world.dice.getrandbits(64):016x}")))

    def _adopt(self) -> None:
        """An open primary is under the deadline that the guard handed on, or else a first one of its own."""
        pg = self.postgres
        handed_over = self.host.guard.deadline_at if self.host.guard.alive else None
        alive = pg.running or pg.state is PostgresState.STARTING
        if handed_over is not None and alive:
            self.prober.adopt(handed_over)
        self._adopt_open_primary()

    def _adopt_open_primary(self) -> None:
        pg = self.postgres
        if not self.prober.is_open and pg.state is PostgresState.PRIMARY and not pg.conf.closed:
            self.prober.adopt(after_ms(self.now, self.profile.lease_ms))

    def die(self) -> None:
        """The agent alone: PostgreSQL goes on."""
        if self.recipe is not None:
            self.world.count("crashes between two durable steps")
        self.alive = self.ready = False
        self.recipe = None

    def _burn(self, act: Callable[[], object]) -> None:
        """Killed in the middle, alone or with what runs beside it: the step was done, or it was not.

        What was stored is fsynced before a step counts as done, so a power cut takes nothing of it back.
        """
        if self.world.chance(500):
            try:
                act()
            except st.StepFailed:
                pass
        dice = self.world.between(0, 99)
        if dice < 15:
            self.world.count("hosts cut off from power between two durable steps")
            self.on_power_cut()
            return
        if dice < 30 and self.postgres.anything_left:
            self.postgres.kill_postmaster()
        if dice < 45:
            self.host.kill_both()
        else:
            self.host.kill_agent()

    def forget(self) -> None:
        """Its state is lost."""
        self.die()
        self.durable = None

    def store(self, state: AgentState) -> None:
        assert self.durable is None or state.obeyed >= self.durable.obeyed, "I9: the obeyed pair went back"
        if state.obeyed.epoch != self.state.obeyed.epoch:
            self.told, self.failure = st.Tell(), ""
        if state.seal != self.state.seal and state.seal is not None:
            self.end_of_wal = None
        rule_before = self.state.serving_rule
        self.state = self.durable = state
        if state.serving_rule != rule_before:
            self.host.guard.hear(self.prober.report())

    # Its guard

    def guard_said(self, offered: Instant) -> None:
        boot = self.boot
        self.process.due(
            lambda: self.prober.guard_said(offered) if self.alive and boot == self.boot else None
        )

    def guard_died(self, known: Report) -> None:
        """It takes the guard's place, and starts another agent (agents/guard_link.py)."""
        boot = self.boot

        def take_its_place() -> None:
            if boot != self.boot or not self.alive or self.host.guard.alive:
                return
            report = self.prober.report()
            self.die()
            self.world.count("agents that became guards")

            def started() -> None:
                if self.host.on and not self.host.guard.alive and not self.alive:
                    self.host.unheld()
                    self.host.guard.start(report)

            self.world.after(self.world.between(30_000, 150_000), started)

        self.process.after(self.world.between(500, 20_000), take_its_place)

    def thawed(self) -> None:
        def report() -> None:
            if self.alive:
                self.host.guard.hear(self.prober.report())

        self.process.after(self.world.between(100, self.profile.lease_ms * 50), report)

    def fenced(self, by: str) -> None:
        """The deadline passed: by the guard's SIGKILL, or by this agent's own stop."""
        if self.postgres.anything_left:
            self.world.count(f"primaries fenced by their {by}")
            self.world.note(f"{self.name} is fenced by its {by}")
            self.host.on_fenced(by)
            self.postgres.crash()
        if by == "agent":
            self.generation += 1
            self.prober.shut()
        self.postmaster_died()

    # Orders

    def receive(self, assignment: Assignment) -> None:
        """From the stream; stored durably before anything is done about it, which takes a moment."""
        if self.alive:
            boot = self.boot
            takes_us = self.world.between(300, 3_000) + self.disk_hangs_us
            self.process.after(takes_us, lambda: self._obey(boot, assignment))

    def _obey(self, boot: int, assignment: Assignment) -> None:
        if not self.alive or boot != self.boot:
            return
        before = self.state.assignment
        verdict = consider(self.state, assignment)
        if not isinstance(verdict, Obeyed):
            return
        self.store(verdict.state)
        self.prober.wake()
        trouble = self.failure or self.told.error or self.told.promotion_failed
        if self.recipe is None:
            if trouble or not asks_the_same(before, assignment):
                self._begin(self.boot)
        elif supersedes(self.running_for, assignment):
            urgent = isinstance(assignment.order, Seal | Promote) and isinstance(self.step, MAY_BE_CUT_OFF)
            if urgent or isinstance(self.step, st.Pause):
                self.recipe.close()
                self._again(100)
            else:
                self.close_at_boundary = True
        elif trouble or not asks_the_same(before, assignment):
            self.ordered = True

    def _begin(self, boot: int) -> None:
        if boot != self.boot or not self.alive or self.recipe is not None:
            return
        self.recipe = begin(self.state, self.profile)
        self.running_for = self.state.assignment
        self.close_at_boundary = self.ordered = False
        self._advance(self.recipe, None, first=True)

    def _again(self, delay_us: int) -> None:
        boot = self.boot
        self.recipe = None
        self.after(delay_us, lambda: self._begin(boot))
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
            self.failure = ""
            self._again(100 if self.ordered else 1_000_000)
            return
        except st.StepFailed as ended:
            self.failure = str(ended)
            self._again(100 if self.ordered else 200_000)
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

        self.process.after(delay_us, finish)

    # Being heard

    def facts(self) -> Facts:
        return facts_of(self)

    def _beat(self, boot: int) -> None:
        if boot != self.boot or not self.alive:
            return
        self._adopt_open_primary()
        self._mark_flushed()
        self.send_beat(self)
        primary = self.postgres.state is PostgresState.PRIMARY
        every_ms = self.profile.beat_primary_every_ms if primary else self.profile.beat_standby_every_ms
        self.after(every_ms * 1_000, lambda: self._beat(boot))

    def _mark_flushed(self) -> None:
        """R1: what a primary reported as flushed must be known when it seals (agents/app.py)."""
        state, pg = self.state, self.postgres
        if self.now - self.marked_at < _MARK_EVERY_US or pg.state is not PostgresState.PRIMARY:
            return
        self.marked_at = self.now
        if rule_served(state) is not None:
            mark = FlushedMark(state.serving_epoch, Lsn(pg.flushed_end))
            if mark != state.flushed_mark:
                self.store(replace(state, flushed_mark=mark))

    def granted(self, epoch: int, sent_at: Instant, lease_ms: int) -> None:
        """The answer to a beat that was sent then ("Staying up" a)."""
        boot = self.boot
        self.process.due(
            lambda: (
                self.prober.granted(epoch, sent_at, lease_ms) if boot == self.boot and self.alive else None
            )
        )

    def postmaster_died(self) -> None:
        boot = self.boot

        def seen() -> None:
            if boot != self.boot or not self.alive:
                return
            self.saw_crash = not self.postgres.standby_signal and not self.postgres.running
            self.prober.forget_writes()
            self.send(self)
            if self.recipe is None:
                self._begin(self.boot)

        self.process.after(self.world.between(100, 3_000), seen)
