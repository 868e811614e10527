"""Clocks and processes in virtual time: what drifts, stands still, is killed at any step, and goes on late.

`Process` is what the kernel runs: what is due to it while it is frozen happens when it is thawed. `Program` is one
with a life of its own: what was scheduled by one that died never happens.
"""

from __future__ import annotations

from collections.abc import Callable

from common.timebase import Instant
from tests.simulator.world import World

_TURNS_US = (0, 400)
"""Between two things that a thawed process finds waiting."""
_HELD_MAX = 500
"""So much of what reaches a frozen program waits for it; the rest of it is lost."""


class OwnClock:
    """CLOCK_BOOTTIME of one machine; its rate differs from real time, by ρ at the most."""

    __slots__ = ("_at_own_us", "_at_world_us", "_permille", "_stands", "_world")

    def __init__(self, world: World) -> None:
        self._world = world
        self._at_world_us, self._at_own_us = world.now_us, world.now_us
        self._permille = 1_000
        self._stands = False

    @property
    def now(self) -> Instant:
        if self._stands:
            return Instant(self._at_own_us)
        passed_us = self._world.now_us - self._at_world_us
        if self._permille != 1_000:
            passed_us = passed_us * self._permille // 1_000
        return Instant(self._at_own_us + passed_us)

    def world_us(self, own_us: int) -> int:
        """How much time passes while this clock goes on by so much."""
        return own_us if self._permille == 1_000 else own_us * 1_000 // self._permille

    def drift(self, permille: int) -> None:
        """From now on it is so much too fast (or too slow)."""
        self._rebase()
        self._permille = 1_000 + permille

    def stand(self, *, still: bool) -> None:
        self._rebase()
        self._stands = still

    def _rebase(self) -> None:
        now = self.now
        self._at_world_us, self._at_own_us = self._world.now_us, now


class Process:
    """What is due to it while it is frozen happens, in the same order, when it is thawed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.frozen = 0
        """How many reasons keep it from running."""
        self._held: list[Callable[[], None]] = []

    def after(self, delay_us: int, happen: Callable[[], None]) -> None:
        def due() -> None:  # as `due` below, without another call: most of what happens comes by here
            if self.frozen:
                self._held.append(happen)
            else:
                happen()

        self.world.after(delay_us, due)

    def due(self, happen: Callable[[], None]) -> None:
        if self.frozen:
            self._held.append(happen)
        else:
            happen()

    def freeze(self) -> None:
        self.frozen += 1

    def thaw(self) -> None:
        if not self.frozen:
            return
        self.frozen -= 1
        if self.frozen:
            return
        held, self._held = self._held, []
        delay_us = 0
        for happen in held:
            delay_us += self.world.between(*_TURNS_US)
            self.after(delay_us, happen)


class Program(Process):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.boot = 0
        self.alive = False
        self.own_clock = OwnClock(world)
        self.died_us = 0
        self.hidden_us = 0
        """So long it stood still together with its clock: it knows nothing of that time."""
        self._hidden_since_us = 0

    def begin_process(self) -> None:
        self.boot += 1
        self.alive, self.frozen = True, 0

    def end_process(self) -> None:
        self.alive, self.frozen = False, 0
        self.boot += 1
        self.died_us = self.world.now_us
        self._held.clear()

    def freeze(self) -> None:
        if self.alive:
            super().freeze()

    def pause(self) -> None:
        """A VM is stopped with its clocks (a snapshot, a live migration that takes long)."""
        self.freeze()
        if not self._hidden_since_us:
            self._hidden_since_us = self.world.now_us
            self.own_clock.stand(still=True)

    def resume(self) -> None:
        if self._hidden_since_us:
            self.hidden_us += self.world.now_us - self._hidden_since_us
            self._hidden_since_us = 0
            self.own_clock.stand(still=False)
            self.thaw()

    @property
    def now(self) -> Instant:
        return self.own_clock.now

    def after(self, delay_us: int, happen: Callable[[], None]) -> None:
        boot = self.boot
        self.world.after(delay_us, lambda: self.receive(happen, boot))

    def timer(self, delay_us: int, happen: Callable[[], None]) -> None:
        """By its own clock, never too early: else what looks whether its time has come would look for ever."""
        self.after(self.own_clock.world_us(delay_us) + 1, happen)

    def receive(self, happen: Callable[[], None], boot: int = 0) -> None:
        """Something reached the host: for whoever listens there now, or as an answer for the process of that boot."""
        if not self.alive or (boot and boot != self.boot):
            return
        if self.frozen and not boot and len(self._held) >= _HELD_MAX:
            return
        self.due(happen)


class ProgramClock:
    """The clock of a program, as the shell's parts take it."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def now(self) -> Instant:
        return self._program.now

    def wall_ms(self) -> int:
        return self._program.world.now_us // 1_000
