"""The probe commit, the door and the deadline of an agent in virtual time.

Mirrors agents/prober.py and agents/fencing.py, whose loops are shells; what decides is the production core:
`rule_served`, `may_open`, `Deadline`. All instants are of the host's own clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents.core.deadline import Deadline
from agents.core.opening import Acknowledged, may_open
from agents.core.served import rule_served
from common.facts import PostgresState, WriteState
from common.lsn import Lsn
from common.rule import RuleKind
from common.timebase import MS_US, Instant, after_ms
from tests.simulator.model_guard import Report
from tests.simulator.model_parts import Entry

if TYPE_CHECKING:
    from tests.simulator.model_agent import Agent

_OPENING_EVERY_MS = 20
_OPENING_FOR_MS = 5_000
_NUDGED_AFTER_US = 20_000
_STOPPING_US = (5_000, 80_000)


class Prober:
    def __init__(self, agent: Agent) -> None:
        self.agent, self.world = agent, agent.world
        self.deadline = Deadline()
        self.is_open = False
        """As the agent believes: clients may be in, so a deadline is kept."""
        self.first_write_at: Instant | None = None
        self.last_write_at: Instant | None = None
        self.pending_since: Instant | None = None
        self._pending_entry: Entry | None = None
        self._pending_run = 0
        self._tick = 0
        self._watch = 0

    # When it probes

    def wake(self) -> None:
        """The role or the rule may have changed."""
        self._again(self.world.between(50, 2_000))

    def _again(self, own_us: int) -> None:
        self._tick += 1
        tick, boot = self._tick, self.agent.boot
        self.agent.after(own_us, lambda: self._turn(tick, boot))

    def _turn(self, tick: int, boot: int) -> None:
        if tick != self._tick or boot != self.agent.boot or not self.agent.alive:
            return
        opening = self._opening
        self._probe()
        every_ms = _OPENING_EVERY_MS if opening else self.agent.profile.probe_every_ms
        self._again(every_ms * MS_US)

    @property
    def _opening(self) -> bool:
        pg = self.agent.postgres
        if pg.state is not PostgresState.PRIMARY or self.is_open or rule_served(self.agent.state) is None:
            return False
        return self.agent.now - pg.primary_since < _OPENING_FOR_MS * MS_US

    def _probe(self) -> None:
        agent, pg = self.agent, self.agent.postgres
        rule = rule_served(agent.state)
        if pg.state is not PostgresState.PRIMARY or rule is None:
            return
        if self.pending_since is not None and self._pending_run == pg.run:
            if self.waits and agent.now - self.pending_since > _NUDGED_AFTER_US:
                pg.nudge()
            return
        if pg.loaded_rule != rule.synchronous_standby_names(agent.state.serving_epoch):
            return
        begun_at, run, boot, generation = (
            agent.host.reasons.begins(agent.now),
            pg.run,
            agent.boot,
            agent.generation,
        )
        self.pending_since, self._pending_run = begun_at, run

        def answered() -> None:
            if boot == agent.boot and agent.alive and run == pg.run:
                self._acknowledged(begun_at, entry, generation)

        entry: Entry | None = None
        entry = pg.commit(0, lambda: agent.process.after(100, answered))
        self._pending_entry = entry

    def _acknowledged(self, begun_at: Instant, entry: Entry | None, generation: int) -> None:
        agent = self.agent
        self.pending_since = None
        self.last_write_at = begun_at
        if self.first_write_at is None:
            self.first_write_at = agent.now
            agent.send(agent)
        rule = rule_served(agent.state)
        if rule is None or entry is None:
            return
        if rule.kind is not RuleKind.ASYNC:
            self._extend(begun_at, agent.profile.lease_ms, "b")
        if not self.is_open and generation == agent.generation:
            self._maybe_open(begun_at, entry)

    def _maybe_open(self, begun_at: Instant, entry: Entry) -> None:
        agent, pg = self.agent, self.agent.postgres
        promotion = agent.state.promotion
        of_this = promotion is not None and promotion.epoch == agent.state.serving_epoch
        switch = promotion.switch_lsn if promotion is not None and of_this else None
        started_at = Instant(max(agent.booted_at, pg.primary_since))
        if not may_open(
            Acknowledged(begun_at, Lsn(entry.end)),
            started_at=started_at,
            end_of_recovery_lsn=Lsn(pg.end_of_recovery),
            switch_lsn=switch,
        ):
            return
        offered = Deadline(after_ms(begun_at, agent.profile.lease_ms))
        if offered.is_final(now=agent.now, margin_ms=agent.profile.guard_margin_ms):
            return
        self._begin(offered, "b")
        pg.open_door()
        agent.send(agent)

    # What it says

    @property
    def pending_entry(self) -> Entry | None:
        return self._pending_entry if self.pending_since is not None else None

    @property
    def waits(self) -> bool:
        """Flushed here, voters missing: as long as PostgreSQL says so; one that is frozen answers no witness."""
        entry, pg = self._pending_entry, self.agent.postgres
        if pg.host.postgres_process.frozen:
            return False
        return entry is not None and self.pending_since is not None and pg.flushed_upto >= entry.end

    def write_state(self) -> WriteState:
        if self.agent.postgres.state is not PostgresState.PRIMARY:
            return WriteState.NONE
        if self.pending_since is not None and self._pending_run == self.agent.postgres.run:
            stuck_us = self.agent.now - self.pending_since
            if self.waits and stuck_us > 300_000:
                return WriteState.WAITING
            if not self.waits and stuck_us > self.agent.profile.stalled_after_ms * MS_US:
                return WriteState.STALLED
        return WriteState.ACKNOWLEDGED if self.last_write_at is not None else WriteState.NONE

    def forget_writes(self) -> None:
        self.first_write_at = self.last_write_at = self.pending_since = None

    # The deadline

    def granted(self, epoch: int, sent_at: Instant, lease_ms: int) -> None:
        """Reason (a): for the epoch that is served, and only while it is open: (a) opens nothing."""
        state = self.agent.state
        if self.is_open and epoch == state.serving_epoch and rule_served(state) is not None:
            self.world.count("leases granted")
            self._extend(sent_at, lease_ms, "a")

    def guard_said(self, offered: Instant) -> None:
        if self.is_open:
            lease_ms = self.agent.profile.lease_ms
            self._extend(Instant(offered - lease_ms * MS_US), lease_ms, "")

    def adopt(self, deadline_at: Instant) -> None:
        self._begin(Deadline(deadline_at), "")

    def shut(self) -> None:
        if self.is_open:
            self.deadline, self.is_open = Deadline(), False
            self._note()

    def _begin(self, deadline: Deadline, reason: str) -> None:
        self.deadline, self.is_open = deadline, True
        self.agent.host.reason = reason or self.agent.host.reason
        self._note()
        self._watch_it()

    def _extend(self, begun_at: Instant, lease_ms: int, reason: str) -> None:
        before = self.deadline
        margin_ms = self.agent.profile.guard_margin_ms
        self.deadline = before.extended(
            begun_at=begun_at, lease_ms=lease_ms, now=self.agent.now, margin_ms=margin_ms
        )
        now, reasons = self.agent.now, self.agent.host.reasons
        reasons.moved(before.at, self.deadline.at, now=now, lease_ms=lease_ms, margin_ms=margin_ms)
        if self.deadline != before:
            self.agent.host.reason = reason or self.agent.host.reason
            self._note()

    def report(self) -> Report:
        state, profile = self.agent.state, self.agent.profile
        rule = rule_served(state)
        counts = rule is not None and rule.kind is not RuleKind.ASYNC and self.is_open
        return Report(
            self.deadline.at if self.is_open else None,
            rule.synchronous_standby_names(state.serving_epoch) if counts and rule is not None else None,
            profile.lease_ms,
            profile.guard_margin_ms,
        )

    def _note(self) -> None:
        self.agent.host.guard.hear(self.report())

    def _watch_it(self) -> None:
        """One timer, set again where it ends: a deadline mostly grows before."""
        at, agent = self.deadline.at, self.agent
        if at is None or not self.is_open:
            return
        self._watch += 1
        watch, boot = self._watch, agent.boot
        left_us = at - agent.profile.guard_margin_ms * MS_US - agent.now
        agent.after(max(1_000, left_us), lambda: self._look(watch, boot))

    def _look(self, watch: int, boot: int) -> None:
        agent = self.agent
        if watch != self._watch or boot != agent.boot or not agent.alive or not self.is_open:
            return
        if not self.deadline.is_final(now=agent.now, margin_ms=agent.profile.guard_margin_ms):
            self._watch_it()
            return

        def stopped() -> None:
            if boot == agent.boot and agent.alive and watch == self._watch and self.is_open:
                agent.fenced("agent")

        agent.process.after(self.world.between(*_STOPPING_US), stopped)
