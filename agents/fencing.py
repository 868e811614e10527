"""Holds the deadline of an open primary, and fences it in time (protocol.md, "Staying up").

The arithmetic is `agents/core/deadline.py`; the guard holds a copy and kills when this agent can't. A closed
primary serves nobody and needs no deadline. Rule of admission: only what may make the deadline grow, or act
when it has not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from agents.core.deadline import Deadline
from agents.core.steps import StepFailed, StopPostgres
from agents.hands import Hands
from common.clock import Clock
from common.profile import Profile
from common.timebase import MS_US, Instant

log: Any = structlog.get_logger()


class Fencing:
    def __init__(self, clock: Clock, hands: Hands, profile: Callable[[], Profile]) -> None:
        self._clock, self._hands, self._profile = clock, hands, profile
        self._deadline = Deadline()
        self._open = False
        self._changed = asyncio.Event()
        self.fenced_count = 0
        self.on_change: Callable[[], None] = lambda: None
        """The guard must hear of it at once."""
        self.on_fenced: Callable[[], None] = lambda: None

    @property
    def deadline_at(self) -> Instant | None:
        return self._deadline.at if self._open else None

    @property
    def is_open(self) -> bool:
        return self._open

    def extend(self, *, begun_at: Instant, lease_ms: int) -> None:
        """A reason to stay up that began at `begun_at`."""
        before = self._deadline
        self._deadline = before.extended(
            begun_at=begun_at,
            lease_ms=lease_ms,
            now=self._clock.now(),
            margin_ms=self._profile().guard_margin_ms,
        )
        if self._deadline != before:
            self._note()

    def opens(self, *, begun_at: Instant, lease_ms: int) -> bool:
        """Just before the door is opened, on a reason (b) that began then. False: too late, it stays shut."""
        offered = Deadline(Instant(begun_at + lease_ms * MS_US))
        if offered.is_final(now=self._clock.now(), margin_ms=self._profile().guard_margin_ms):
            return False
        if not self._open:
            self._deadline, self._open = offered, True
            self._note()
        return True

    def adopt(self, deadline_at: Instant) -> None:
        """An open primary was found running: by the guard's word, or with a first lease of its own."""
        self._deadline, self._open = Deadline(deadline_at), True
        self._note()

    def shut(self) -> None:
        """Clients are surely out: PostgreSQL is gone, or it is no primary any more."""
        if self._open:
            self._deadline, self._open = Deadline(), False
            self._note()

    async def run(self) -> None:
        while True:
            self._changed.clear()
            wait_ms = self._wait_ms()
            if wait_ms == 0:
                await self._fence()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wait_ms is None else wait_ms / 1000):
                    await self._changed.wait()

    def _wait_ms(self) -> int | None:
        """Until the deadline is final; None while there is nothing to wait for."""
        if not self._open or self._deadline.at is None:
            return None
        final_at = self._deadline.at - self._profile().guard_margin_ms * MS_US
        return max(0, -((self._clock.now() - final_at) // MS_US))

    async def _fence(self) -> None:
        log.error("primary.fenced", why="no reason to stay up was renewed in time")
        self.fenced_count += 1
        self._hands.cut_off()
        try:
            await self._hands.perform(StopPostgres())
        except StepFailed as failure:
            log.error("primary.fence_failed", why=str(failure))
            await asyncio.sleep(0.05)
            return
        self.shut()
        self.on_fenced()

    def _note(self) -> None:
        self._changed.set()
        self.on_change()
