"""The guard (agents/guard/guard.py) in virtual time: keeps an agent alive, holds a copy of the deadline,
makes the commit of reason (b) itself while no agent moves it, kills PostgreSQL when the deadline is near.

The daemon's guard is a loop over sockets and processes, so this is a model and not the code itself; its
conditions are that loop's, line by line. The agent's reports arrive at once unless one of the two is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.facts import PostgresState
from common.timebase import MS_US, SECOND_US, Instant
from tests.simulator.model_host import Host

_RESTART_FIRST_US = 20_000
_RESTART_LONGEST_US = 2 * SECOND_US
_LIVED_LONG_US = 10 * SECOND_US
_FIRST_REPORT_WITHIN_US = 20 * SECOND_US
_COMMITS_EVERY_US = 100_000
_AGENT_BOOTS_US = (150_000, 500_000)
_KILLING_US = (2_000, 60_000)
_PSQL_US = (5_000, 60_000)


@dataclass(frozen=True, slots=True)
class Report:
    """agents/guard/channel.py, what of it decides."""

    deadline_at: Instant | None = None
    rule: str | None = None
    lease_ms: int = 5_000
    margin_ms: int = 500


class Guard:
    def __init__(self, host: Host) -> None:
        self.host, self.world = host, host.world
        self.alive = False
        self.life = 0
        self._report = Report()
        self._deadline_at: Instant | None = None
        self._silent_since: Instant | None = None
        """None: the agent talks."""
        self._heard_this_one = False
        self._agent_started_at = self._start_at = host.clock.now
        self._deaths = 0
        self._committing = False
        self._commit_run = 0
        self._next_commit_at = host.clock.now
        self._timer = 0
        self._unread: Report | None = None
        """What waits in the socket of a frozen guard; only the newest says anything new."""

    def start(self, adopted: Report | None) -> None:
        """By the init system, or by an agent that takes the place of a guard that died."""
        self.life += 1
        self.alive = True
        self._report = adopted or Report()
        self._deadline_at = self._report.deadline_at
        self._deaths = 0
        self._committing = False
        self._unread = None
        self._heard_this_one = False
        self._silent_since = self._start_at = self._agent_started_at = self.host.clock.now
        if self.host.agent.alive:
            self._silent_since = None
        self._look_soon()

    def die(self) -> Report:
        """Answers what it knew: nothing of it is handed on unless an agent is there to do that."""
        known, self.alive = self._report, False
        self.life += 1
        return known

    # What it hears

    @property
    def deadline_at(self) -> Instant | None:
        return self._deadline_at

    def hear(self, report: Report) -> None:
        if not self.alive:
            return
        if self.host.guard_process.frozen:
            if self._unread is None:
                self.host.guard_process.after(0, self._read)
            self._unread = report
            return
        self._take(report)

    def _read(self) -> None:
        report, self._unread = self._unread, None
        if report is not None and self.alive:
            self._take(report)

    def _take(self, report: Report) -> None:
        self._report, self._heard_this_one, self._silent_since = report, True, None
        before = self._deadline_at
        self._deadline_at = (
            None if report.deadline_at is None else Instant(max(before or 0, report.deadline_at))
        )
        if before is None and self._deadline_at is not None:
            self._look_soon()

    def agent_fell_silent(self) -> None:
        """Frozen: it reports nothing from now on."""
        if self.alive and self._silent_since is None:
            self._silent_since = self.host.clock.now
            self._look_soon()

    def agent_talks(self) -> None:
        self._heard_this_one = True
        self._silent_since = None

    def agent_died(self) -> None:
        if not self.alive:
            return
        now = self.host.clock.now
        if self._silent_since is None:
            self._silent_since = now
        self._deaths = 0 if now - self._agent_started_at > _LIVED_LONG_US else self._deaths + 1
        pause_us = _RESTART_FIRST_US << min(self._deaths, 10) if self._deaths > 1 else 0
        self._start_at = Instant(now + min(pause_us, _RESTART_LONGEST_US))
        self._look_soon()

    # Its loop

    def _look_soon(self) -> None:
        self._look_in(self.world.between(50, 2_000))

    def _look_in(self, own_us: int) -> None:
        self._timer += 1
        timer, life = self._timer, self.life
        # On a fast clock a microsecond of its own is none of the world's: it would look for ever at the same moment.
        delay_us = max(self.host.clock.world_us(max(0, own_us)), min(own_us, 1))
        self.host.guard_process.after(delay_us, lambda: self._look(timer, life))

    def _look(self, timer: int, life: int) -> None:
        if life != self.life or timer != self._timer or not self.alive:
            return
        self._read()
        due = [*self._keep_agent(), *self._keep_deadline()]
        if due:
            self._look_in(min(due) - self.host.clock.now + 1)

    def _keep_agent(self) -> list[int]:
        now, agent = self.host.clock.now, self.host.agent
        if not agent.alive:
            if now < self._start_at:
                return [self._start_at]
            self._agent_started_at = now
            self._heard_this_one = False
            boots_us = self.world.between(*_AGENT_BOOTS_US)
            agent.begin_boot(boots_us)
            self.world.count("agents restarted by their guard")
            return []
        if self._silent_since is None:
            return []
        allowed_us = self._report.lease_ms * MS_US // 2 if self._heard_this_one else _FIRST_REPORT_WITHIN_US
        ends_at = max(self._silent_since, self._agent_started_at) + allowed_us
        if now <= ends_at:
            return [ends_at]
        self.world.count("silent agents killed by their guard")
        self._agent_started_at = now
        self.host.kill_agent()
        return [now + 10_000]

    def _keep_deadline(self) -> list[int]:
        if self._deadline_at is None:
            return []
        now, report = self.host.clock.now, self._report
        final_at = self._deadline_at - report.margin_ms * MS_US
        if now >= final_at:
            self._kill_postgres()
            return []
        third_us = report.lease_ms * MS_US // 3
        begin_at = max(self._deadline_at - report.lease_ms * MS_US + third_us, self._next_commit_at)
        if self._committing and self._commit_run != self.host.agent.postgres.run:
            self._committing = False  # its server is gone, psql ended
        if report.rule is None:
            return [final_at]
        if self._committing:
            return [final_at, now + _COMMITS_EVERY_US]
        if now < begin_at:
            return [final_at, begin_at]
        self._next_commit_at = Instant(now + _COMMITS_EVERY_US)
        self._commit(report)
        return [final_at, self._next_commit_at]

    def _kill_postgres(self) -> None:
        life = self.life

        def killed() -> None:
            if life != self.life:
                return
            self._deadline_at = None
            if self.host.agent.postgres.anything_left:
                self.host.agent.fenced("guard")

        self.host.guard_process.after(self.world.between(*_KILLING_US), killed)

    def _commit(self, report: Report) -> None:
        """With psql: a connection, the rule as this session sees it, the commit, no warning."""
        begun_at, life, pg = (
            self.host.reasons.begins(self.host.clock.now),
            self.life,
            self.host.agent.postgres,
        )
        run = pg.run
        self._committing, self._commit_run = True, run

        def ended() -> None:
            if life == self.life:
                self._committing = False

        def acknowledged() -> None:
            if life != self.life or run != pg.run:
                return
            self._committing = False
            self.world.count("commits of a guard")
            now = self.host.clock.now
            if self._deadline_at is not None and now < self._deadline_at - self._report.margin_ms * MS_US:
                self._deadline_at = Instant(max(self._deadline_at, begun_at + self._report.lease_ms * MS_US))
                self.host.reason = "b"
                if self.host.agent.alive:
                    self.host.agent.guard_said(self._deadline_at)

        def connected() -> None:
            if pg.state is not PostgresState.PRIMARY or run != pg.run or pg.loaded_rule != report.rule:
                ended()
                return
            handle = pg.commit(0, lambda: self.host.guard_process.due(acknowledged))
            if handle is None:
                ended()

        self.host.postgres_process.after(self.world.between(*_PSQL_US), connected)
