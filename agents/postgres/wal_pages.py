"""Pages of the write-ahead log in pg_wal, along one chain of timelines.

Blocking; called on a lane. Reads with pread and never maps: a bad sector must be an error, not a signal that
ends the agent. Which file holds a position is decided as PostgreSQL does: that of the newest timeline of the
chain that has begun by that segment, and whose file is there.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from agents.postgres.histories import real_history
from common.lsn import ZERO, Lsn

PAGE: Final = 8192
SHORT_HEADER: Final = 24
LONG_HEADER: Final = 40
FIRST_IS_CONTINUATION: Final = 0x0001
_IS_LONG: Final = 0x0002
FIRST_IS_OVERWRITE: Final = 0x0008
"""The record that ran into this page was given up at a restart; this page goes on without it."""
_MAGIC_HIGH_BYTE: Final = 0xD1
_HEADER = struct.Struct("<HHIQI")
_LONG_REST = struct.Struct("<QII")
_CHUNK: Final = 32 * PAGE


@dataclass(frozen=True, slots=True)
class Leg:
    """A timeline of a chain and where it begins."""

    timeline: int
    begin_lsn: Lsn


@dataclass(frozen=True, slots=True)
class Chain:
    """A timeline and its ancestors, newest first."""

    legs: tuple[Leg, ...]

    @property
    def timeline(self) -> int:
        return self.legs[0].timeline

    def timeline_before(self, lsn: int) -> int:
        """Of the byte just before `lsn`."""
        return next((leg.timeline for leg in self.legs if leg.begin_lsn < lsn), self.legs[-1].timeline)

    def left_at(self, timeline: int) -> int | None:
        """Where the chain leaves this timeline; None for the newest one."""
        newer = None
        for leg in self.legs:
            if leg.timeline == timeline:
                return newer
            newer = leg.begin_lsn
        return None


def chain_of(wal_directory: Path, timeline: int) -> Chain:
    """From its history file; a timeline without one stands alone."""
    steps = real_history(wal_directory, timeline)
    begins = [ZERO, *(step.switch_lsn for step in steps)]
    timelines = [*(step.timeline for step in steps), timeline]
    legs = [Leg(one, begin) for one, begin in zip(timelines, begins, strict=True)]
    return Chain(tuple(reversed(legs)))


def segment_path(wal_directory: Path, timeline: int, segment: int, segment_bytes: int) -> Path:
    per_id = 0x1_0000_0000 // segment_bytes
    return wal_directory / f"{timeline:08X}{segment // per_id:08X}{segment % per_id:08X}"


class Unreadable(Exception):
    """No valid page there; the text says why. For the reader of records this is where the log ends."""


@dataclass(frozen=True, slots=True)
class Page:
    data: memoryview
    header_bytes: int
    info: int
    left_bytes: int
    """How much of a record that began before is still to come, from this page on."""
    timeline: int
    """Of the page, as it was written."""
    file_timeline: int
    """Of the segment file that it was read from."""

    @property
    def is_continuation(self) -> bool:
        """It begins with the rest of a record that began before."""
        return bool(self.info & FIRST_IS_CONTINUATION)

    @property
    def first_record_inside(self) -> int:
        """Where in it the first record begins; PAGE or more: none does."""
        return self.header_bytes + (self.left_bytes + 7 & ~7 if self.is_continuation else 0)


class WalPages:
    """Use as a context manager: it keeps the segment that it reads open."""

    def __init__(
        self, wal_directory: Path, chain: Chain, segment_bytes: int, system_identifier: int | None = None
    ) -> None:
        self.chain = chain
        self.segment_bytes = segment_bytes
        self._wal_directory = wal_directory
        self._system_identifier = system_identifier
        self._segment = -1
        self._file = -1
        self._file_timeline = 0
        self._chunk_at = -1
        self._chunk = memoryview(b"")
        self._magic: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def page(self, at: int) -> Page:
        """Raise Unreadable."""
        data = self._read(at)
        magic, info, timeline, address, left_bytes = _HEADER.unpack_from(data)
        if magic >> 8 != _MAGIC_HIGH_BYTE or self._magic not in (None, magic):
            raise Unreadable(f"page header {magic:04X} at {Lsn(at)}")
        if address != at:
            raise Unreadable(f"page address {Lsn(address)} at {Lsn(at)}")
        if timeline > self._file_timeline:
            raise Unreadable(f"page of timeline {timeline} in a file of {self._file_timeline} at {Lsn(at)}")
        if info & _IS_LONG:
            identifier, segment_bytes, page_bytes = _LONG_REST.unpack_from(data, SHORT_HEADER)
            if (segment_bytes, page_bytes) != (self.segment_bytes, PAGE):
                raise Unreadable(f"segments of {segment_bytes} and pages of {page_bytes} bytes at {Lsn(at)}")
            if self._system_identifier not in (None, identifier):
                raise Unreadable(f"WAL of another cluster ({identifier}) at {Lsn(at)}")
        self._magic = magic
        header_bytes = LONG_HEADER if info & _IS_LONG else SHORT_HEADER
        return Page(data, header_bytes, info, left_bytes, timeline, self._file_timeline)

    def _read(self, at: int) -> memoryview:
        if at // self.segment_bytes != self._segment:
            self._open(at // self.segment_bytes)
        inside = at % self.segment_bytes
        chunk_at = inside - inside % _CHUNK
        if chunk_at != self._chunk_at:
            try:
                self._chunk = memoryview(os.pread(self._file, _CHUNK, chunk_at))
            except OSError as error:
                self._chunk_at = -1
                raise Unreadable(f"could not read at {Lsn(at)}: {error}") from error
            self._chunk_at = chunk_at
        page = self._chunk[inside - chunk_at : inside - chunk_at + PAGE]
        if len(page) < PAGE:
            raise Unreadable(f"the segment file ends before {Lsn(at)}")
        return page

    def _open(self, segment: int) -> None:
        self._close()
        for leg in self.chain.legs:
            if leg.begin_lsn // self.segment_bytes > segment:
                continue
            with suppress(FileNotFoundError):
                self._file = os.open(
                    segment_path(self._wal_directory, leg.timeline, segment, self.segment_bytes), os.O_RDONLY
                )
                self._segment, self._file_timeline = segment, leg.timeline
                return
        raise Unreadable(f"no segment for {Lsn(segment * self.segment_bytes)}")

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = self._segment = self._chunk_at = -1
