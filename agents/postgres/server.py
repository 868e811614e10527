"""What the steps share: lanes, sessions, files, and what is known of the PostgreSQL that runs now.

Rule of admission: state that more than one step needs. What a step does is in the step's own file.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from agents.core.steps import StepFailed
from agents.postgres.config import InstanceConfig
from agents.postgres.control_file import ControlData, ControlFile
from agents.postgres.histories import real_history
from agents.postgres.lanes import Lane
from agents.postgres.own_files import OwnFiles
from agents.postgres.postmaster import Postmaster, find_postmaster, spawn
from agents.postgres.processes import children
from agents.postgres.sql import Session
from agents.postgres.versions import ServerVersion
from agents.room import Room
from common.assignment import HistoryStep
from common.clock import Clock
from common.lsn import Lsn
from common.timebase import Instant

T = TypeVar("T")
_NOTICES_MAX = 20


@dataclass(slots=True)
class Primacy:
    """Of a primary, as first seen by this agent since its start or promotion."""

    since: Instant
    end_of_recovery_lsn: Lsn
    """An upper bound: the insert position as first seen."""
    timeline: int


class Server:
    def __init__(
        self, config: InstanceConfig, clock: Clock, version: ServerVersion, incarnation: Callable[[], str]
    ) -> None:
        self.config = config
        self.clock = clock
        self.version = version
        self.incarnation = incarnation
        self.writing = Lane("writing")
        self.reading = Lane("reading")
        self.scanning = Lane("scanning")
        self._kernel = Lane("kernel")
        self.files = OwnFiles(config, version.major)
        self._room = Room(config.state_directory)
        self.control_file = ControlFile(config.bin_directory, config.data_directory)
        self.control = Session(config)
        self.watching = Session(config)
        self.notices: tuple[str, ...] = ()
        self.activity = ""
        self.primacy: Primacy | None = None
        self.postmaster: Postmaster | None = None
        self._appeared = asyncio.Event()
        self._histories: dict[int, tuple[HistoryStep, ...]] = {}

    # The postmaster

    @property
    def alive(self) -> bool:
        return self.postmaster is not None and self.postmaster.alive

    async def find(self) -> Postmaster | None:
        """The living postmaster: the one we know, or one that was started when we were not looking."""
        if not self.alive:
            what = "looking for a running postmaster"
            pid = await self.read(what, partial(find_postmaster, self.config.data_directory))
            if pid is not None:
                try:
                    self._take(Postmaster(pid))
                except ProcessLookupError:
                    return None
        return self.postmaster if self.alive else None

    def spawn(self) -> Postmaster:
        try:
            postmaster = spawn(self.config)
        except OSError as error:
            raise StepFailed(f"could not start PostgreSQL: {error}") from error
        self._take(postmaster)
        return postmaster

    def reload(self) -> None:
        if self.postmaster is not None:
            self.postmaster.send(signal.SIGHUP)

    def wake_startup(self) -> None:
        """It looks around anew, also for history files. It alone reads the settings again: a reload takes each process a
        millisecond, and this one is asked for while commits wait. Where it is not seen, all are told: the kernel's list
        may leave one child out while another one ends (proc(5), `children`)."""
        postmaster = self.postmaster
        if postmaster is None or not postmaster.alive:
            return
        startup = [child.pid for child in children(postmaster.pid, self.config.title) if child.is_startup]
        for pid in startup:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)
        if not startup:
            self.reload()

    async def dead_postmaster(self, told: Postmaster | None) -> Postmaster:
        """The next one that is dead, after `told`."""
        while True:
            postmaster, appeared = self.postmaster, self._appeared
            if postmaster is not None and postmaster is not told:
                await postmaster.gone.wait()
                return postmaster
            await appeared.wait()

    def _take(self, postmaster: Postmaster) -> None:
        self.postmaster = postmaster
        self.primacy = None
        appeared, self._appeared = self._appeared, asyncio.Event()
        appeared.set()

    # Disk

    async def read(self, what: str, call: Callable[[], T]) -> T:
        return await self.reading.run(what, self.config.disk_within_ms, call)

    async def write(self, what: str, call: Callable[[], T]) -> T:
        return await self.writing.run(what, self.config.disk_within_ms, partial(self._room.use, call))

    async def ask_kernel(self, call: Callable[[], T]) -> T:
        """What only reads /proc has a lane of its own: a disk that hangs must not stop the killing."""
        return await self._kernel.run("looking for processes", self.config.disk_within_ms, call)

    async def history_of(self, timeline: int) -> tuple[HistoryStep, ...]:
        """Kept: the history of a timeline never changes."""
        if timeline <= 1:
            return ()
        if timeline not in self._histories:
            call = partial(real_history, self.config.wal_directory, timeline)
            found = await self.read(f"reading the history of timeline {timeline}", call)
            if not found:
                return ()
            self._histories[timeline] = found
        return self._histories[timeline]

    async def control_data(self) -> ControlData:
        return await self.read("reading the control file", self.control_file.read)

    async def identity(self) -> ControlData:
        return await self.read("reading the control file", self.control_file.identity)

    def forget_histories(self) -> None:
        self._histories.clear()

    def forget_directory(self) -> None:
        """It was replaced."""
        self._histories.clear()
        self.control_file.forget()

    # SQL

    async def close_sessions(self) -> None:
        await self.control.close()
        await self.watching.close()

    @property
    def has_crashed(self) -> bool:
        """The primary that this agent saw is gone, untold, and nothing took its place."""
        gone = self.postmaster is not None and not self.alive and not self.postmaster.told_to_stop
        return gone and self.primacy is not None

    def saw_primary(self, insert_lsn: Lsn, timeline: int) -> Primacy:
        if self.primacy is None:
            self.primacy = Primacy(self.clock.now(), insert_lsn, timeline)
        return self.primacy

    def notice(self, words: str) -> None:
        if words not in self.notices:
            self.notices = (*self.notices, words)[-_NOTICES_MAX:]

    def let_go(self) -> None:
        if self.postmaster is not None:
            self.postmaster.let_go()
        for lane in (self.writing, self.reading, self.scanning, self._kernel):
            lane.close()
