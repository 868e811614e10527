"""A value with many readers, each of whom wants the newest: what came between is skipped, never queued."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    def __init__(self, value: T) -> None:
        self._value = value
        self._changed = asyncio.Event()

    @property
    def value(self) -> T:
        return self._value

    def set(self, value: T) -> None:
        """Equal values are no change."""
        if value != self._value:
            self._value = value
            self._changed.set()
            self._changed = asyncio.Event()

    async def stream(self) -> AsyncIterator[T]:
        """The value at once, then each newer one."""
        while True:
            value, changed = self._value, self._changed
            yield value
            if changed is self._changed:
                await changed.wait()
