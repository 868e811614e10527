"""What this control node remembers of every cluster, on disk: the highest (epoch, revision) it saw (R14).

A restored etcd would show a lower one. Written by temporary file, fsync, rename and fsync of the folder, in
a thread and soon after it was seen, never on the path of a failover: losing the last second of it
to a crash weakens the check by one step, and the agents remember too.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path

import structlog

from common.assignment import Version
from common.codec import decode, encode
from common.errors import BadConfig
from common.facts import NO_VERSION
from common.ids import ClusterName

log = structlog.get_logger()

FILE_NAME = "highest_seen.json"
WRITE_AFTER_S = 0.5
WRITTEN_WITHIN_S = 2.0
"""At a stop; a disk that hangs does not keep the process for longer."""


class HighestSeen:
    def __init__(self, folder: Path, *, write_after_s: float = WRITE_AFTER_S) -> None:
        """Raise BadConfig when the file is there and can't be understood: forgetting it in silence would
        switch the check off."""
        self._file = folder / FILE_NAME
        self._write_after_s = write_after_s
        self._changed = asyncio.Event()
        self._writing = threading.Lock()
        try:
            stored = decode(self._file.read_bytes(), dict[str, Version])
        except FileNotFoundError:
            stored = {}
        except (OSError, ValueError) as error:
            raise BadConfig(
                [f"{self._file}: {error}; look at it, and remove it only if etcd was never restored"]
            ) from error
        self._versions = {ClusterName(name): version for name, version in stored.items()}

    def of(self, cluster: ClusterName) -> Version:
        return self._versions.get(cluster, NO_VERSION)

    def note(self, cluster: ClusterName, version: Version) -> None:
        if version > self.of(cluster):
            self._versions[cluster] = version
            self._changed.set()

    async def run(self) -> None:
        """Write soon after something higher was noted: once for all changes of a failover, and not in its way. At an
        orderly stop, at once."""
        try:
            while True:
                await self._changed.wait()
                await asyncio.sleep(self._write_after_s)
                await self._write_now()
        finally:
            if self._changed.is_set():
                await self._write_last()

    async def _write_now(self) -> None:
        self._changed.clear()
        await asyncio.to_thread(self._write)

    async def _write_last(self) -> None:
        """By a thread that nobody waits for at the end of the process, should the disk hang."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def write() -> None:
            try:
                self._write()
            except OSError as error:
                log.warning("highest_seen.not_written", file=str(self._file), error=str(error))
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=write, name="highest-seen", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(WRITTEN_WITHIN_S):
                await done.wait()

    def _write(self) -> None:
        with self._writing:  # one after the other, and the later one has what is newer
            self._replace(encode(dict(self._versions)))

    def _replace(self, content: bytes) -> None:
        temporary = self._file.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._file)
        folder = os.open(self._file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
