"""Processes that are not ours to reap are waited for by the kernel's word."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from agents.postgres.pidfds import ended_within

LONG_MS = 60_000


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) for _ in range(2)]
    yield started
    for each in started:
        each.kill()
        each.wait()


async def test_it_returns_once_the_last_of_them_has_ended(sleepers: list[subprocess.Popen[bytes]]) -> None:
    waiting = asyncio.ensure_future(ended_within([each.pid for each in sleepers], LONG_MS))
    sleepers[0].kill()
    assert not await ended_within([sleepers[1].pid], 20)
    assert not waiting.done()
    sleepers[1].kill()
    assert await waiting  # both are zombies now: nobody reaped them


async def test_one_that_is_gone_already_is_not_waited_for(sleepers: list[subprocess.Popen[bytes]]) -> None:
    sleepers[0].kill()
    sleepers[0].wait()
    assert await ended_within([sleepers[0].pid], LONG_MS)
    assert await ended_within([], LONG_MS)


async def test_without_descriptors_it_says_that_it_does_not_know(
    sleepers: list[subprocess.Popen[bytes]],
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
    try:
        assert not await ended_within([sleepers[0].pid], LONG_MS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_one_that_stands_still_is_waited_for_to_the_deadline(
    sleepers: list[subprocess.Popen[bytes]],
) -> None:
    os.kill(sleepers[0].pid, signal.SIGSTOP)
    descriptors_before = len(os.listdir("/proc/self/fd"))
    assert not await ended_within([sleepers[0].pid], 10)
    assert len(os.listdir("/proc/self/fd")) == descriptors_before
