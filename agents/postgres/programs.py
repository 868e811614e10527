"""Running PostgreSQL's own programs (initdb, pg_basebackup, pg_rewind), watching what they say.

They may take long, so the bound is on their standing still. Some say nothing for minutes while they work (the
fsyncs at the end of a copy), so the kernel is asked: whoever works uses the CPU, or waits for something again and
again. One that is cancelled, or stands still for too long, is ended before we go on: two of them must never work
in one directory.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from agents.core.steps import StepFailed
from agents.postgres.config import InstanceConfig
from agents.postgres.processes import signs_of_work, state_of

_LOOK_AT_IT_EVERY_S = 0.5
_END_WITHIN_S = 3.0
_LOOKS = 500
_LOOK_EVERY_S = 0.002
_CHUNK = 4096
_LINE_ENDS = re.compile(r"[\r\n]+")
_KEPT = 8_000


async def run_program(
    config: InstanceConfig,
    program: str,
    arguments: Sequence[str | Path],
    silent_ms: int,
    on_text: Callable[[str], None] = lambda text: None,
) -> str:
    """Answers what it said. Raise StepFailed with its last words when it fails, or stands still for `silent_ms`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment["LC_ALL"] = "C"
    run_as = config.run_as
    process = await asyncio.create_subprocess_exec(
        config.bin_directory / program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        cwd="/",
        start_new_session=True,
        user=None if run_as is None else run_as.uid,
        group=None if run_as is None else run_as.gid,
        extra_groups=None if run_as is None else [],
    )
    said = ""

    async def listen() -> int:
        nonlocal said
        assert process.stdout is not None
        while chunk := await process.stdout.read(_CHUNK):
            said = (said + chunk.decode("utf-8", "replace"))[-_KEPT:]
            lines = [line for line in _LINE_ENDS.split(said) if line.strip()]
            if lines:
                on_text(lines[-1].strip())
        return await process.wait()

    listening = asyncio.ensure_future(listen())
    try:
        await _until_done_or_still(process.pid, listening, silent_ms)
        if not listening.done():
            raise StepFailed(f"{program} stood still for {silent_ms} ms: {_last_words(said)}")
        code = listening.result()
    finally:
        listening.cancel()
        await _end(process)
    if code != 0:
        raise StepFailed(f"{program} failed ({code}): {_last_words(said)}")
    return said


async def _until_done_or_still(pid: int, done: asyncio.Future[int], silent_ms: int) -> None:
    """Its own process alone: the child of pg_basebackup that receives WAL wakes up for as long as it lives."""
    loop = asyncio.get_running_loop()
    moved, moved_at = signs_of_work(pid), loop.time()
    while not done.done():
        await asyncio.wait({done}, timeout=min(_LOOK_AT_IT_EVERY_S, silent_ms / 2000))
        seen = signs_of_work(pid)
        if seen != moved or state_of(pid) == "R":  # one that waits for the CPU does not wait for the source
            moved, moved_at = seen, loop.time()
        elif (loop.time() - moved_at) * 1000 > silent_ms:
            return


async def _end(process: asyncio.subprocess.Process) -> None:
    """Its whole process group: pg_basebackup has a child that receives WAL and outlives it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _END_WITHIN_S)
    for _ in range(_LOOKS):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        await asyncio.sleep(_LOOK_EVERY_S)


def _last_words(said: str) -> str:
    lines = [line.strip() for line in _LINE_ENDS.split(said) if line.strip()]
    return " / ".join(lines[-3:]) or "it said nothing"
