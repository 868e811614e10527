"""What must survive a restart of the agent, fsynced before it acts (protocol.md, R7, I9).

One file, `state.json`, replaced by write, fsync, rename, fsync of the folder; a lock, so that two agents
never share it. A file that cannot be read is kept aside and counts as none: its owner then is a new
incarnation, which obeys nothing until the record names it. What the state means is `agents/core`'s.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from agents.core.state import AgentState
from agents.room import Room
from common import codec
from common.errors import BadConfig
from common.ids import ClusterName, MemberName

STATE_FILE = "state.json"
_LOCK_FILE = "agent.lock"
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Loaded:
    state: AgentState | None
    trouble: str
    """Why there is none although there was a file; for people."""


class EpochStore:
    """`current` is what the disk surely holds. Writes happen in a thread of their own, one after the other:
    a disk that stalls must not silence the beats."""

    def __init__(self, folder: Path, lock: IO[str]) -> None:
        self._folder, self._lock, self.room = folder, lock, Room(folder)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="epoch-store")
        self._current: AgentState | None = None

    @classmethod
    def open(cls, folder: Path) -> EpochStore:
        """Raise BadConfig when the folder can't be used, or another agent uses it."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (folder / _LOCK_FILE).open("a+", encoding="ascii")
        except OSError as error:
            raise BadConfig(
                [f"state_directory = {str(folder)!r}: cannot be used: {error.strerror}"]
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            other = lock.read().strip() or "unknown"
            lock.close()
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            raise BadConfig(
                [
                    f"state_directory = {str(folder)!r}: is in use by the agent with pid {other} "
                    f"(this one has pid {os.getpid()}); give every member a directory of its own"
                ]
            ) from error
        opened = cls(folder, lock)
        with suppress(OSError):  # it is for people, and for a second guard
            opened.room.use(opened._write_pid)
        opened.room.keep()
        return opened

    def _write_pid(self) -> None:
        os.ftruncate(self._lock.fileno(), 0)
        os.write(self._lock.fileno(), f"{os.getpid()}\n".encode())  # it was opened for appending

    @property
    def current(self) -> AgentState:
        assert self._current is not None, "nothing was loaded or saved yet"
        return self._current

    def load(self, cluster: ClusterName, member: MemberName, *, wall_ms: int) -> Loaded:
        """Raise BadConfig when the state is of another member: its owner must say which is meant."""
        (self._folder / f"{STATE_FILE}.new").unlink(missing_ok=True)  # a write that was cut short
        file = self._folder / STATE_FILE
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            return Loaded(None, "")
        try:
            state = codec.decode(content, AgentState)
            if state.schema != _SCHEMA:
                raise ValueError(f"schema {state.schema}; this program knows {_SCHEMA}")
        except ValueError as error:
            aside = file.with_name(f"{STATE_FILE}.corrupt-{wall_ms}")
            file.rename(aside)
            _sync_folder(self._folder)
            return Loaded(None, f"the agent's state could not be read ({error}); kept as {aside}")
        if (state.cluster, state.member) != (cluster, member):
            raise BadConfig(
                [
                    f"state_directory = {str(self._folder)!r}: holds the state of "
                    f"{state.cluster}/{state.member}, the file says {cluster}/{member}; "
                    f"use another directory, or correct the names"
                ]
            )
        self._current = state
        return Loaded(state, "")

    async def save(self, state: AgentState, *, is_a_promise: bool = True) -> None:
        """Return once it is durable. Shielded: once begun it is done, and `current` says so. A promise may take the room
        that is kept on a full disk. Raise OSError."""
        loop = asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(self._thread, self.save_now, state, is_a_promise))

    def save_now(self, state: AgentState, is_a_promise: bool = True) -> None:
        before = self._current
        assert before is None or state.obeyed >= before.obeyed, (
            f"{state.obeyed} is below {before.obeyed} (I9)"
        )
        content = codec.encode(state) + b"\n"
        if is_a_promise:
            self.room.use(lambda: self._replace(content))
        else:
            self._replace(content)
        self._current = state

    def _replace(self, content: bytes) -> None:
        new = self._folder / f"{STATE_FILE}.new"
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._folder / STATE_FILE)
        _sync_folder(self._folder)

    def in_background(self, write: Callable[[], None]) -> None:
        """For what may be lost, in the same thread: no disk is ever waited for in the loop."""
        self._thread.submit(write)

    def close(self) -> None:
        self._thread.shutdown()
        self._lock.close()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
