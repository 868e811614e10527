"""Waiting for processes that are not our children to end, by the kernel's word instead of by looking again."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterable
from contextlib import suppress

_LOOK_EVERY_S = 0.005
_GONE = (errno.ESRCH, errno.EINVAL)
"""EINVAL: it was reaped just now, or its number is a thread's by now (pidfd_open(2), kernels before 6.16)."""


async def ended_within(pids: Iterable[int], within_ms: int) -> bool:
    """Whether all of them have ended, zombies included; at once when they have. A pid that came to mean another
    process meanwhile is waited for in vain: who needs a proof lists the processes again. Never raises."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_ms / 1000):
            for pid in pids:  # all must end, so one descriptor at a time is enough
                if not await _ended(pid):
                    return False
            return True
    return False


async def _ended(pid: int) -> bool:
    """Until it has; False where the kernel gives no descriptor to wait with, after a moment."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in _GONE:
            return True
        await asyncio.sleep(_LOOK_EVERY_S)
        return False
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, ended.set)
        await ended.wait()
        return True
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
