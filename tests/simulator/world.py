"""Virtual time: a heap of things to happen. Everything is drawn through the seed's dice."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable

from common.timebase import Instant
from tests.simulator.dice import Dice

_ASKED_EVERY_US = 20_000


class World:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = Dice(seed)
        self._roll = self.dice.random
        self.now_us = 1_000_000
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._contents = 0
        self.late_us = 0
        """By how much PostgreSQL's parts took longer, now and then, than they mostly do; outages grow by that."""
        self.steps = 0
        self.trace: list[str] = []
        self._digest = hashlib.blake2b(digest_size=16)
        self.counts: dict[str, int] = {}
        self.after_each: Callable[[], None] = lambda: None

    @property
    def now(self) -> Instant:
        return Instant(self.now_us)

    def after(self, delay_us: int, happen: Callable[[], None]) -> None:
        self._sequence += 1
        at_us = self.now_us + delay_us if delay_us > 0 else self.now_us
        heapq.heappush(self._heap, (at_us, self._sequence, happen))

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
        line = f"{self.now_us // 1000:>8}.{self.now_us % 1000:03} ms  {text}"
        self.trace.append(line)
        self._digest.update(line.encode())
        if len(self.trace) > 4_000:
            del self.trace[:2_000]

    def run_until(self, at_us: int, done: Callable[[], bool] | None = None) -> bool:
        """Let things happen until then; True as soon as `done` says so (asked now and then)."""
        asked_at = -_ASKED_EVERY_US
        heap, pop = self._heap, heapq.heappop
        steps = self.steps
        while heap and heap[0][0] <= at_us:
            self.now_us, _, happen = pop(heap)
            happen()
            steps += 1
            if not steps & 7:
                self.after_each()
            if done is not None and self.now_us - asked_at >= _ASKED_EVERY_US:
                asked_at = self.now_us
                self.steps = steps
                if done():
                    return True
        self.steps = steps
        self.now_us = max(self.now_us, at_us)
        return done is not None and done()

    def digest(self) -> str:
        """Of everything that was noted, how much happened, and where the dice are."""
        end = f"{self.now_us} {self.steps} {self._contents} {self.dice.getrandbits(64)} {sorted(self.counts.items())}"
        whole = self._digest.copy()
        whole.update(end.encode())
        return whole.hexdigest()
