"""Room on the disk that only the agent uses: a member whose disk is full must still be able to promise, and to stop.

A seal is a few small files. Where PostgreSQL, or whoever shares the disk, has taken the last block, they could not be
written; a primary that is lost then would wait for this member for as long as the disk is full. So a file beside the
agent's state keeps some blocks, and gives them back when a write finds none. It is made again when there is room.
Blocking.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

KEPT_BYTES: Final = 1 << 20
"""Some hundred small files: a whole failover, told again and again."""
AMPLE_BYTES: Final = 64 << 20
"""Less is left to PostgreSQL."""
_NAME: Final = "reserve"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Room:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / _NAME

    def keep(self) -> None:
        """Take it, where it is not taken and the disk has ample room. Never raises: without it everything else goes on."""
        with suppress(OSError):
            if self._file.exists() and self._file.stat().st_size == KEPT_BYTES:
                return
            disk = os.statvfs(self._folder)
            if disk.f_bavail * disk.f_frsize < AMPLE_BYTES:
                return
            handle = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(handle, 0, KEPT_BYTES)
            finally:
                os.close(handle)

    def use(self, write: Callable[[], T]) -> T:
        """What `write` answers; tried again once if the disk was full and there was room kept. Raise what it raises."""
        try:
            return write()
        except OSError as error:
            if error.errno not in _FULL or not self._give_back():
                raise
        return write()

    def _give_back(self) -> bool:
        """The folder is synced, for a journal keeps blocks until it has written that they are free."""
        try:
            self._file.unlink()
        except FileNotFoundError:
            return False
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return True
