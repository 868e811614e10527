"""The tick: APScheduler's jobs only enqueue, they never decide (style.md 3, 16).

A failover never waits for a tick: what matters wakes the loop at once, and `Decision.again_at_us` is
kept to exactly. The tick is the floor below that: ages grow, and nothing is forgotten.
"""

from __future__ import annotations

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from common.clock import Clock
from orchestrator.core.events import Tick
from orchestrator.shell.inbox import Inbox

CALM_EVERY_MS = 250
BUSY_EVERY_MS = 50
_JOB = "tick"


class Ticker:
    def __init__(self, inbox: Inbox, clock: Clock) -> None:
        self._inbox, self._clock = inbox, clock
        self._busy = False
        self._scheduler = AsyncIOScheduler()

    def start(self) -> None:
        self._scheduler.add_job(
            self._tick,
            "interval",
            seconds=CALM_EVERY_MS / 1000,
            id=_JOB,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        self._scheduler.start()

    def stop(self) -> None:
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def is_busy(self, busy: bool) -> None:
        """While something is under way, more often."""
        if busy != self._busy and self._scheduler.running:
            self._busy = busy
            every_ms = BUSY_EVERY_MS if busy else CALM_EVERY_MS
            self._scheduler.reschedule_job(_JOB, trigger="interval", seconds=every_ms / 1000)

    async def _tick(self) -> None:
        # A coroutine, because APScheduler runs plain functions in a thread.
        self._inbox.tick(Tick(self._clock.now()))
