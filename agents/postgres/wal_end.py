"""Where the valid write-ahead log ends: our own reader (protocol.md, R1; V6, V7).

Blocking; called on a lane. From a record boundary on it reads record by record (length, prev-link, CRC-32C,
continuation over pages) until one is not whole, and says where that one would end by its own length: beyond
what was flushed it is torn, otherwise the disk is damaged. pg_waldump gives none of that reliably.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crc32c import crc32c

from agents.postgres.histories import list_histories
from agents.postgres.wal_pages import (
    FIRST_IS_OVERWRITE,
    LONG_HEADER,
    PAGE,
    SHORT_HEADER,
    Chain,
    Page,
    Unreadable,
    WalPages,
    chain_of,
)
from common.lsn import Lsn

_RECORD = struct.Struct("<IIQBB2xI")
_RECORD_BYTES: Final = 24
_CRC_AT: Final = 20
_LONGEST: Final = 1 << 30
_TRIES: Final = 3
"""From a page on which a record begins the first one succeeds, unless something is damaged."""
_PAGES_BACK: Final = 1 << 17
"""A gigabyte, as long as a record can be; mostly one or two are read."""
_XLOG_MANAGER: Final = 0
_SWITCH: Final = 0x40


@dataclass(frozen=True, slots=True)
class WalEnd:
    timeline: int
    """Of the last byte; a timeline of which no record is there yet does not count."""
    end_lsn: Lsn
    next_record_would_end_lsn: Lsn | None
    reason: str
    records: int


class _Ends(Exception):
    def __init__(self, reason: str, would_end: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.would_end = would_end


def find_end(
    wal_directory: Path,
    *,
    start_lsn: Lsn,
    timeline: int,
    segment_bytes: int,
    system_identifier: str = "",
) -> WalEnd:
    """`start_lsn` is a record boundary on `timeline` or an ancestor; newer timelines are looked for.

    A newer one counts once a record of it is there: that its history file was placed, or that its first
    segment was begun, says nothing yet.
    """
    identifier = int(system_identifier) if system_identifier else None

    def scan(chain: Chain) -> WalEnd:
        with WalPages(wal_directory, chain, segment_bytes, identifier) as pages:
            return _scan(pages, start_lsn)

    for file in reversed(list_histories(wal_directory, timeline)):
        if file.placeholder:
            continue
        chain = chain_of(wal_directory, file.timeline)
        if all(leg.timeline != timeline for leg in chain.legs):
            continue  # of another branch
        with WalPages(wal_directory, chain, segment_bytes, identifier) as pages:
            if not _goes_on(pages, start_lsn):
                continue
            found = _scan(pages, start_lsn)
        if found.timeline == chain.timeline:
            return found
    return scan(chain_of(wal_directory, timeline))


def reads_up_to(pages: WalPages, start_lsn: int, end_lsn: int) -> bool:
    """Whether all records between are whole; both are boundaries of records."""
    reader = _Reader(pages, start_lsn, None)
    with suppress(_Ends):
        while reader.at < end_lsn:
            reader.step()
    return reader.at >= end_lsn


def _goes_on(pages: WalPages, start_lsn: int) -> bool:
    """Whether `start_lsn`, if it lies past the beginning of the chain's newest timeline, lies on it.

    Then the bytes before it are in that timeline's own file: on a page of it, or, on the page where it forks
    off, reached from there record by record.
    """
    begin_lsn = pages.chain.legs[0].begin_lsn
    if start_lsn <= begin_lsn:
        return True
    page_at = (start_lsn - 1) - (start_lsn - 1) % PAGE
    try:
        page = pages.page(page_at)
    except Unreadable:
        return False
    if page.file_timeline != pages.chain.timeline:
        return False
    return page.timeline == pages.chain.timeline or _scan(pages, begin_lsn).end_lsn >= start_lsn


def _scan(pages: WalPages, start_lsn: int) -> WalEnd:
    reader = _Reader(pages, start_lsn, _record_before(pages, start_lsn))
    try:
        while True:
            reader.step()
    except _Ends as end:
        would_end = None if end.would_end is None else Lsn(end.would_end)
        timeline = pages.chain.timeline_before(reader.at)
        return WalEnd(timeline, Lsn(reader.at), would_end, end.reason, reader.records)


def _record_before(pages: WalPages, start_lsn: int) -> int | None:
    """Where the record begins that ends at `start_lsn`; None where it can't be found.

    Needed, because a checksum proves nothing about the place: a promotion fills the rest of its first segment
    with copies of the last page, a rewind takes that file along, and what lies exactly where the next record
    would begin may then be a whole one of other WAL. Only its prev-link tells.
    """
    page_at = (start_lsn - 1) - (start_lsn - 1) % PAGE
    tries = 0
    for _ in range(_PAGES_BACK):
        try:
            page = pages.page(page_at)
        except Unreadable:
            return None
        first_at = page_at + page.first_record_inside
        if first_at < min(start_lsn, page_at + PAGE):
            reader = _Reader(pages, first_at, None)
            with suppress(_Ends):
                while reader.at < start_lsn:
                    reader.step()
            if reader.at == start_lsn and reader.previous is not None:
                return reader.previous
            tries += 1
            if tries == _TRIES:
                return None
        page_at -= PAGE
        if page_at < 0:
            return None
    return None


class _Reader:
    """`at` is always a record boundary: all before it is whole."""

    def __init__(self, pages: WalPages, start_lsn: int, previous: int | None) -> None:
        """`previous`: where the record before begins, if it is known."""
        self.at = start_lsn
        self.records = 0
        self.previous = previous
        self._pages = pages
        self._page_at = -1
        self._page: Page | None = None

    def step(self) -> None:
        """Read one record, or raise _Ends."""
        at = self.at
        page_at = at - at % PAGE
        page = self._load(page_at)
        if at == page_at:
            if page.is_continuation:
                raise _Ends(f"the rest of another record where one should begin, at {Lsn(at)}")
            at += page.header_bytes
        left_at = self._pages.chain.left_at(page.file_timeline)
        if left_at is not None and at >= left_at:
            raise _Ends(f"timeline {page.file_timeline} was left at {Lsn(left_at)}")
        inside = at - page_at
        (length,) = struct.unpack_from("<I", page.data, inside)
        if length < _RECORD_BYTES or length >= _LONGEST:
            raise _Ends(f"a record of {length} bytes at {Lsn(at)}")
        whole_in_page = inside + length <= PAGE
        would_end = at + length if whole_in_page else self._end_by_length(at, length)
        if whole_in_page:
            record: memoryview = page.data[inside : inside + length]
            end = would_end
        else:
            joined = self._join(page, page_at, inside, length, would_end)
            if joined is None:
                return
            record, end = joined
        self._check(record, at, would_end)
        self.records += 1
        self.previous = at
        self.at = end + 7 & ~7
        if record[17] == _XLOG_MANAGER and record[16] & 0xF0 == _SWITCH:
            self.at += -self.at % self._pages.segment_bytes

    def _check(self, record: memoryview, at: int, would_end: int) -> None:
        _, _, previous, _, _, checksum = _RECORD.unpack_from(record)
        if self.previous is None:
            if previous >= at:
                raise _Ends(f"prev-link {Lsn(previous)} at {Lsn(at)}", would_end)
        elif previous != self.previous:
            raise _Ends(f"prev-link {Lsn(previous)} at {Lsn(at)}", would_end)
        if crc32c(record[:_CRC_AT], crc32c(record[_RECORD_BYTES:])) != checksum:
            raise _Ends(f"checksum of the record at {Lsn(at)}", would_end)

    def _join(
        self, first: Page, page_at: int, inside: int, length: int, would_end: int
    ) -> tuple[memoryview, int] | None:
        """(the record, its end); None when it was given up at a restart, and `at` has moved past it."""
        record = bytearray(first.data[inside:])
        end = page_at + PAGE
        while len(record) < length:
            page_at += PAGE
            try:
                page = self._load(page_at)
            except _Ends as met:
                raise _Ends(met.reason, would_end) from None
            if page.info & FIRST_IS_OVERWRITE:
                self.at = page_at + page.header_bytes
                return None
            if not page.is_continuation or page.left_bytes != length - len(record):
                raise _Ends(f"no continuation at {Lsn(page_at)}", would_end)
            taken = page.data[page.header_bytes : page.header_bytes + length - len(record)]
            record += taken
            end = page_at + page.header_bytes + len(taken)
        return memoryview(record), end

    def _load(self, page_at: int) -> Page:
        if page_at != self._page_at or self._page is None:
            try:
                self._page = self._pages.page(page_at)
            except Unreadable as why:
                self._page_at = -1
                raise _Ends(str(why)) from None
            self._page_at = page_at
        return self._page

    def _end_by_length(self, at: int, length: int) -> int:
        """Where a record of this length ends, over the page headers in between."""
        left = length
        while True:
            room = PAGE - at % PAGE
            if left <= room:
                return at + left
            left -= room
            at += room
            at += SHORT_HEADER if at % self._pages.segment_bytes else LONG_HEADER
