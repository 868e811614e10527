"""A database host in virtual time: its clock, and what its kernel runs, freezes, kills and starts again.

A clock drifts, and stands still while a VM is paused with it. Wall clocks are not here: nothing reads
them, so a jump of one can change nothing. Rule of admission: what is true of every program on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from common.timebase import Instant
from tests.simulator.check_deadline import DeadlineTruth
from tests.simulator.model_process import OwnClock, Process
from tests.simulator.world import World

if TYPE_CHECKING:
    from tests.simulator.model_agent import Agent
    from tests.simulator.model_guard import Guard

_INIT_STARTS_AFTER_US = (100_000, 1_500_000)


class Host:
    """One member's machine. `guard` is the parent of `agent`; the init system starts both if both are gone."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.clock = OwnClock(world)
        self.reasons = DeadlineTruth(name)
        self.on = True
        self.agent_process = Process(world)
        self.guard_process = Process(world)
        self.postgres_process = Process(world)
        self.agent: Agent
        self.guard: Guard
        self.reason = "b"
        """By which reason the deadline was moved last ("Staying up")."""
        self.on_fenced: Callable[[str], None] = lambda by: None
        self.on_stopped: Callable[[Agent], None] = lambda agent: None
        self.watched = True
        """The init system keeps the service up; not when a person stopped it."""
        self.unheld_until_us = 0
        """In its running time: the last moment at which neither agent nor guard could have acted on a deadline."""
        self._frozen: list[tuple[Process, ...]] = []
        self._still_since: Instant | None = None
        self._stood_us = 0

    @property
    def holds_deadline(self) -> bool:
        """Somebody who could act on the deadline of an open primary runs."""
        agent = self.agent.alive and self.agent.ready and not self.agent_process.frozen
        return agent or (self.guard.alive and not self.guard_process.frozen)

    @property
    def stands_still(self) -> bool:
        """All of it is frozen: nothing runs there, so nobody there can be killed either."""
        return self._still_since is not None

    @property
    def running_us(self) -> int:
        """Its clock, without the time in which nothing on it ran."""
        still_us = 0 if self._still_since is None else self.clock.now - self._still_since
        return self.clock.now - self._stood_us - still_us

    def unheld(self) -> None:
        """Until now nobody held the deadline: only the bound on stale reads is lost."""
        self.unheld_until_us = self.running_us

    # Power

    def power_off(self) -> None:
        self.on = False
        self.guard.die()
        self.agent.die()
        self.melt()

    def power_on(self) -> None:
        self.on = True
        self.watched = True
        self.unheld()
        self.guard.start(None)
        self.agent.boot_up()

    # The service

    def stop_service(self) -> None:
        """A person stops the agent for an upgrade (SIGUSR1): PostgreSQL goes on, and nobody holds the deadline."""
        self.watched = False
        self.guard.die()
        self.agent.die()

    def start_service(self) -> None:
        self.watched = True
        if self.on and not self.guard.alive:
            if not self.agent.alive:
                self.unheld()
            self.guard.start(None)

    def kill_agent(self) -> None:
        """The guard sees it at once, and starts another one."""
        if self.agent.alive and not self.stands_still:
            self.agent.die()
            self.agent_gone()

    def agent_gone(self) -> None:
        self.agent_process = Process(self.world)
        self.guard.agent_died()
        self._init()

    def kill_guard(self) -> None:
        if not self.guard.alive or self.stands_still:
            return
        deadline = self.guard.die()
        self.guard_process = Process(self.world)
        if self.agent.alive:
            self.agent.guard_died(deadline)
        self._init()

    def kill_both(self) -> None:
        if self.stands_still:
            return
        self.guard.die()
        self.guard_process = Process(self.world)
        self.kill_agent()
        self._init()

    def _init(self) -> None:
        if self.guard.alive or self.agent.alive or not self.on or not self.watched:
            return

        def start() -> None:
            if not self.guard.alive and not self.agent.alive and self.on and self.watched:
                self.unheld()
                self.guard.start(None)

        self.world.after(self.world.between(*_INIT_STARTS_AFTER_US), start)

    # Freezing

    def freeze(self, *processes: Process, clock_stands: bool = False) -> None:
        """Without processes: all of them, and with `clock_stands` its clock too (a paused VM)."""
        chosen = processes or (self.agent_process, self.guard_process, self.postgres_process)
        if clock_stands:
            self.clock.stand(still=True)
        for process in chosen:
            process.freeze()
        self._frozen.append(chosen)
        if not processes and self._still_since is None:
            self._still_since = self.clock.now
        if self.agent_process in chosen and self.agent.alive:
            self.guard.agent_fell_silent()
        if self.guard_process in chosen and self.guard.alive:
            self._guard_hangs()

    def _guard_hangs(self) -> None:
        """Its socket fills; the agent ends it and takes its place (agents/guard_link.py)."""
        life, lease_us = self.guard.life, self.agent.profile.lease_ms * 1_000
        own_us = lease_us // 4 + self.world.between(100_000, lease_us // 2)

        def end_it() -> None:
            if (
                self.guard.life == life
                and self.guard.alive
                and self.guard_process.frozen
                and self.agent.alive
            ):
                self.world.count("hung guards ended by their agent")
                self.kill_guard()

        self.agent_process.after(self.clock.world_us(own_us), end_it)

    def thaw(self) -> None:
        """Everything on it that was frozen goes on."""
        frozen, self._frozen = self._frozen, []
        self._moves_again()
        if not self.holds_deadline and frozen:
            self.unheld()
        for chosen in frozen:
            for process in chosen:
                process.thaw()
        if any(self.agent_process in chosen for chosen in frozen) and self.agent.alive:
            self.agent.thawed()

    def melt(self) -> None:
        """Nothing is frozen any more, because nothing of it is left."""
        self._frozen = []
        self._moves_again()
        self.agent_process = Process(self.world)
        self.guard_process = Process(self.world)
        self.postgres_process = Process(self.world)

    def _moves_again(self) -> None:
        self.clock.stand(still=False)
        if self._still_since is not None:
            self._stood_us += self.clock.now - self._still_since
            self._still_since = None

    def postgres_ended(self) -> None:
        """SIGKILL ends a stopped process too; what is started after it is another one."""
        if self.postgres_process.frozen and not self.stands_still:
            self.postgres_process = Process(self.world)

    def heal(self) -> None:
        self.thaw()
        self.clock.drift(0)
        self.start_service()
