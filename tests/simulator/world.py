"""Virtual time: a heap of things to happen, and the dice of the seed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from common.timebase import Instant

_ASKED_EVERY_US = 20_000


class World:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self._roll = self.dice.random
        self.now_us = 1_000_000
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._contents = 0
        self.slow_promotion_us = 0
        """How much longer a promotion may take at present."""
        self.slow_reload_us = 0
        """How much later a postmaster may act on a reload at present."""
        self.slow_checkpointer_us = 0
        """How much later a checkpointer may act on a reload at present."""
        self.steps = 0
        self.trace: list[str] = []
        self.counts: dict[str, int] = {}
        self.damaged: dict[str, tuple[int, int]] = {}
        """member → in which run of its PostgreSQL the disk lost records, and how far it had flushed."""
        self.after_each: Callable[[], None] = lambda: None

    @property
    def now(self) -> Instant:
        return Instant(self.now_us)

    def after(self, delay_us: int, happen: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (self.now_us + max(0, delay_us), self._sequence, happen))

    def between(self, low_us: int, high_us: int) -> int:
        return low_us + int(self._roll() * (high_us - low_us + 1))

    def chance(self, permille: int) -> bool:
        return self._roll() * 1000 < permille

    def unique(self) -> int:
        """A content that nothing else has."""
        self._contents -= 1
        return self._contents

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + by

    def note(self, text: str) -> None:
        self.trace.append(f"{self.now_us / 1000:>10.1f} ms  {text}")
        if len(self.trace) > 4_000:
            del self.trace[:2_000]

    def run_until(self, at_us: int, done: Callable[[], bool] | None = None) -> bool:
        """Let things happen until then; True as soon as `done` says so (asked now and then)."""
        asked_at = -_ASKED_EVERY_US
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= at_us:
            self.now_us, _, happen = pop(heap)
            happen()
            self.steps += 1
            if self.steps % 8 == 0:
                self.after_each()
            if done is not None and self.now_us - asked_at >= _ASKED_EVERY_US:
                asked_at = self.now_us
                if done():
                    return True
        self.now_us = max(self.now_us, at_us)
        return done is not None and done()
