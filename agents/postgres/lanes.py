"""Blocking calls, each kind on a named thread of its own, with a deadline.

A dead disk blocks whoever touches it, so the event loop never does (traps of PostgreSQL, 40). Writes share
one lane, so that an older one that hung can never land after a newer one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from agents.core.steps import StepFailed

T = TypeVar("T")


class Lane:
    def __init__(self, name: str) -> None:
        self._name = name
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"postgres-{name}")

    async def run(self, what: str, within_ms: int, call: Callable[[], T]) -> T:
        """Raise StepFailed at the deadline, or for an OSError. What was not begun by then never is."""
        job = self._pool.submit(call)
        waiting = asyncio.wrap_future(job)
        try:
            done, _ = await asyncio.wait({waiting}, timeout=within_ms / 1000)
        finally:
            job.cancel()
        if not done:
            raise StepFailed(f"{what}: not done within {within_ms} ms, the disk does not answer")
        try:
            return waiting.result()
        except OSError as error:
            raise StepFailed(f"{what}: {error}") from error

    def close(self) -> None:
        """Does not wait for a call that hangs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
