"""Waiting for processes that are not our children to end, by the kernel's word instead of by looking again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress


async def ended_within(pids: Iterable[int], within_ms: int) -> bool:
    """Whether all of them have ended, zombies included; at once when they have. A pid that came to mean another
    process meanwhile is waited for in vain: who needs a proof lists the processes again."""
    loop = asyncio.get_running_loop()
    watched: dict[int, asyncio.Event] = {}
    for pid in pids:
        with suppress(ProcessLookupError):
            watched[os.pidfd_open(pid)] = asyncio.Event()
    try:
        for descriptor, ended in watched.items():
            loop.add_reader(descriptor, _tell, loop, descriptor, ended)
        with suppress(TimeoutError):
            async with asyncio.timeout(within_ms / 1000):
                for ended in watched.values():
                    await ended.wait()
        return all(ended.is_set() for ended in watched.values())
    finally:
        for descriptor in watched:
            loop.remove_reader(descriptor)
            os.close(descriptor)


def _tell(loop: asyncio.AbstractEventLoop, descriptor: int, ended: asyncio.Event) -> None:
    loop.remove_reader(descriptor)
    ended.set()
