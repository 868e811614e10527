"""The agent's end of the channel to its guard: reports out, the guard's words in, its death seen at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NoReturn

import structlog

from agents.guard.channel import (
    FD_VARIABLE,
    MESSAGE_BYTES_MAX,
    UNREAD_BYTES_MAX,
    Report,
    Word,
    decode_word,
    send,
)
from common.clock import Clock
from common.timebase import Instant

log: Any = structlog.get_logger()


FIRST_WORD_WITHIN_S: Final = 0.5


class GuardLink:
    def __init__(self, end: socket.socket | None, report: Callable[[], Report], clock: Clock) -> None:
        """`end` None: the agent runs without a guard."""
        self._end, self._report, self._clock = end, report, clock
        self._guard_pid = os.getppid()
        if end is not None:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_BYTES_MAX)
        self._gone = asyncio.Event()
        self._unread_since: Instant | None = None
        self.on_word: Callable[[Word], None] = lambda word: None

    @classmethod
    def from_environment(cls, report: Callable[[], Report], clock: Clock) -> GuardLink:
        number = os.environ.pop(FD_VARIABLE, "")
        return cls(socket.socket(fileno=int(number)) if number else None, report, clock)

    def first_word(self) -> Word | None:
        """What the guard said when it started this agent: the deadline that an open primary is under."""
        if self._end is None:
            return None
        self._end.settimeout(FIRST_WORD_WITHIN_S)
        word = None
        try:
            while True:  # the newest counts: the guard's own commits may have moved the deadline meanwhile
                data = self._end.recv(MESSAGE_BYTES_MAX)
                if not data:
                    return word  # it is dead: `run` will see that
                word = decode_word(data)
                self._end.setblocking(False)
        except (OSError, ValueError):
            return word

    def tell(self) -> None:
        """Now: the deadline or the door changed."""
        if self._end is None:
            return
        report = self._report()
        try:
            read = send(self._end, report)
        except OSError:
            self._gone.set()
            return
        now = self._clock.now()
        if read:
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        elif now - self._unread_since > report.lease_us // 4:
            self._end_hung_guard()

    def _end_hung_guard(self) -> None:
        """It does not read. Thawed later it would go by old reports, and kill a PostgreSQL that is well."""
        if os.getppid() == self._guard_pid:
            log.error("guard.hung", pid=self._guard_pid, action="killed")
            with suppress(ProcessLookupError):
                os.kill(self._guard_pid, signal.SIGKILL)
        self._gone.set()

    async def run(self) -> None:
        """Return when the guard is gone; never without a guard."""
        if self._end is None:
            log.warning("guard.absent", why="this agent was not started by primacy-guard")
            await asyncio.Event().wait()
            return
        self._end.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._end, self._read)
        try:
            while not self._gone.is_set():
                self.tell()
                try:
                    async with asyncio.timeout(max(self._report().lease_us // 20, 50_000) / 1_000_000):
                        await self._gone.wait()
                except TimeoutError:
                    continue
        finally:
            loop.remove_reader(self._end)

    def _read(self) -> None:
        assert self._end is not None
        try:
            data = self._end.recv(MESSAGE_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone.set()
            return
        try:
            self.on_word(decode_word(data))
        except ValueError as error:
            log.warning("guard.unreadable", why=str(error))


def guard_command(config_file: Path) -> list[str]:
    return [sys.executable, "-m", "agents.guard.main", "--config", str(config_file)]


def become_guard(command: Sequence[str], last: Report) -> NoReturn:
    """The guard died: this process takes its place and starts a new agent; PostgreSQL goes on under it.

    Everything of the agent ends with the exec: its locks and sockets are closed by it.
    """
    sys.stderr.flush()
    os.execv(command[0], [*command, "--adopt", json.dumps(asdict(last))])
