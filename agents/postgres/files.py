"""Replacing small files durably: write, fsync, rename, fsync of the folder.

Blocking; called on a lane.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor, wait
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
    _write_beside(path, data, owner, temporary).rename(path)


def _write_beside(path: Path, data: bytes, owner: RunAs | None, temporary: Path | None = None) -> Path:
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
    return temporary


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

    def lies_there(self, data: bytes) -> bool:
        return data == self.durable and self.path.exists()

    def write_beside(self, data: bytes) -> Path:
        """Answers the temporary file, whose content is durable, under a name of its own."""
        self.durable = None
        return _write_beside(self.path, data, self._owner)

    def read(self) -> str | None:
        return read_text(self.path)


def write_all(
    contents: Sequence[tuple[DurableFile, str]], beside: Executor | None = None, *, lasting: bool = True
) -> None:
    """Put in place in this order; all durable at the end, by one fsync of their folder, which must be the same.

    The contents are synced side by side, all but the first by `beside`: the disk's journal takes them in one go. Not
    `lasting`: after a power cut each file may be the one before again, whole; and it is written anew the next time.
    """
    wanted = [(file, text.encode()) for file, text in contents]
    new = [(file, data) for file, data in wanted if not file.lies_there(data)]
    if not new:
        return
    (first, content), *others = new
    if beside is None:
        temporaries = [file.write_beside(data) for file, data in new]
    else:
        under_way = [beside.submit(file.write_beside, data) for file, data in others]
        try:
            temporaries = [first.write_beside(content), *(job.result() for job in under_way)]
        finally:
            wait(under_way)  # one that hangs must never land after a newer one
    for (file, _), temporary in zip(new, temporaries, strict=True):
        temporary.rename(file.path)
    if not lasting:
        return
    sync_directory(new[0][0].path.parent)
    for file, data in new:
        file.durable = data
