"""A process in virtual time: it may be killed at any step, or stand still, and has a clock of its own.

What was scheduled by a process that died never happens. What reaches a frozen one waits (so much of it as
kernels keep), and all of its timers go off late.
"""

from __future__ import annotations

from collections.abc import Callable

from common.timebase import Instant
from tests.simulator.world import World

_HELD_MAX = 500
"""What waits for a frozen process; the rest of it is lost."""


class Process:
    def __init__(self, world: World) -> None:
        self.world = world
        self.boot = 0
        self.alive = False
        self.frozen = False
        self.drift_permille = 0
        self.died_us = 0
        self._held: list[Callable[[], None]] = []

    def begin_process(self) -> None:
        self.boot += 1
        self.alive, self.frozen = True, False

    def end_process(self) -> None:
        self.alive = self.frozen = False
        self.boot += 1
        self.died_us = self.world.now_us
        self._held.clear()

    def freeze(self) -> None:
        if self.alive:
            self.frozen = True

    def thaw(self) -> None:
        if self.frozen:
            self.frozen = False
            held, self._held = self._held, []
            for number, happen in enumerate(held):
                self.after(number, happen)

    # ---- its clock ----

    @property
    def now(self) -> Instant:
        drift = self.drift_permille
        return Instant(self.world.now_us + self.world.now_us * drift // 1000 if drift else self.world.now_us)

    def after(self, delay_us: int, happen: Callable[[], None]) -> None:
        boot = self.boot

        self.world.after(delay_us, lambda: self.receive(happen, boot))

    def timer(self, delay_us: int, happen: Callable[[], None]) -> None:
        """By its own clock, never too early: else what looks whether its time has come would look for ever."""
        self.after(delay_us * 1000 // (1000 + self.drift_permille) + 1, happen)

    def receive(self, happen: Callable[[], None], boot: int = 0) -> None:
        """Something reached the host: for whoever listens there now, or as an answer for the process of that boot."""
        if not self.alive or (boot and boot != self.boot):
            return
        if self.frozen:
            if len(self._held) < _HELD_MAX:
                self._held.append(happen)
            return
        happen()


class ProcessClock:
    """The clock of a process, as the shell's parts take it."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now(self) -> Instant:
        return self._process.now

    def wall_ms(self) -> int:
        return self._process.world.now_us // 1_000
