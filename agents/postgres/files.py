"""Replacing small files durably: write, fsync, rename, fsync of the folder.

Blocking; called on a lane.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from agents.postgres.config import RunAs


def sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, data: bytes, owner: RunAs | None, temporary: Path | None = None) -> None:
    """Content is durable under its name once the folder is synced too; mode 0600."""
    temporary = temporary or path.with_name(f".{path.name}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if owner is not None:
            os.fchown(handle, owner.uid, owner.gid)
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.rename(path)


def replace_durably(path: Path, data: bytes, owner: RunAs | None) -> None:
    write_synced(path, data, owner)
    sync_directory(path.parent)


def remove_durably(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
        sync_directory(path.parent)


def read_text(path: Path) -> str | None:
    """None when there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


class DurableFile:
    """A file that only this process writes; an unchanged content is not written twice.

    What lies there when the process starts may have been renamed and never synced: the first write is made
    in any case.
    """

    def __init__(self, path: Path, owner: RunAs | None) -> None:
        self.path = path
        self._owner = owner
        self.durable: bytes | None = None
        """What is known to lie there durably."""

    def write(self, text: str) -> None:
        write_all([(self, text)])

    def replace(self, data: bytes) -> bool:
        """Not durable yet; answers whether anything had to be written."""
        if data == self.durable and self.path.exists():
            return False
        self.durable = None
        write_synced(self.path, data, self._owner)
        return True

    def read(self) -> str | None:
        return read_text(self.path)


def write_all(contents: Iterable[tuple[DurableFile, str]]) -> None:
    """In this order; all durable at the end, by one fsync of their folder, which must be the same."""
    written = []
    for file, text in contents:
        data = text.encode()
        if file.replace(data):
            written.append((file, data))
    if not written:
        return
    sync_directory(written[0][0].path.parent)
    for file, data in written:
        file.durable = data
