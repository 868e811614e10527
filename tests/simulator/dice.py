"""The dice of the seed.

Built on `random()` and `getrandbits()` alone: these two give the same for a seed on every Python, `choice`, `sample`
and their like need not.
"""

from __future__ import annotations

import random
from collections.abc import MutableSequence, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")


class Dice(random.Random):
    """The generator of a seed; what it inherits and what differs between versions is replaced here."""

    def draw(self, below: int) -> int:
        """0 ... below - 1."""
        return int(self.random() * below)

    def between(self, low: int, high: int) -> int:
        return low + int(self.random() * (high - low + 1))

    def chance(self, permille: int) -> bool:
        return self.random() * 1000 < permille

    def pick(self, items: Sequence[Item]) -> Item:
        return items[int(self.random() * len(items))]

    def some(self, items: Sequence[Item], count: int) -> list[Item]:
        """So many different ones, in any order."""
        left = list(items)
        return [left.pop(int(self.random() * len(left))) for _ in range(min(count, len(left)))]

    def choice(self, seq: Any) -> Any:
        return self.pick(seq)

    def sample(self, population: Any, k: int, **_: Any) -> Any:
        return self.some(population, k)

    def shuffle(self, x: MutableSequence[Any]) -> None:
        x[:] = self.some(x, len(x))

    def randint(self, a: int, b: int) -> int:
        return self.between(a, b)

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        if stop is None:
            start, stop = 0, start
        return start + step * self.draw(-(-(stop - start) // step))
