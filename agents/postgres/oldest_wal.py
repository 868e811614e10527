"""Where the WAL begins that a primary still has: below that it can send nobody anything any more.

Blocking. PostgreSQL removes segments by their number, whatever their timeline (xlog.c, RemoveOldXlogFiles), and tells
a standby that asks for one of them "requested WAL segment … has already been removed", in its log alone; the standby
asks again for ever.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from agents.postgres.wal_pages import Chain
from common.lsn import ZERO, Lsn

_SEGMENT: Final = re.compile(r"[0-9A-F]{24}")


def oldest_wal(wal_directory: Path, insert_lsn: Lsn, segment_bytes: int) -> Lsn:
    """Where the segments begin that lead up to `insert_lsn` without a gap; ZERO when that is not known: the last one is
    just being made. Raise OSError when the directory can't be read."""
    there = {number for _, number in _segments(wal_directory, segment_bytes)}
    oldest = max(0, insert_lsn - 1) // segment_bytes
    if oldest not in there:
        return ZERO
    while oldest - 1 in there:
        oldest -= 1
    return Lsn(oldest * segment_bytes)


def missing_wal(
    wal_directory: Path, chain: Chain, start_lsn: Lsn, end_lsn: Lsn, segment_bytes: int
) -> Lsn | None:
    """Where the first segment begins that is not there, of those that lead from `start_lsn` to `end_lsn`, though a later
    one of them is; the last ones may not have come yet.

    Of the segment in which a timeline forks off, its own file is needed: its parent's ends at the fork. Raise OSError
    when the directory can't be read."""
    there = _segments(wal_directory, segment_bytes)

    def is_there(number: int) -> bool:
        for leg in chain.legs:
            if (leg.timeline, number) in there:
                return True
            if leg.begin_lsn // segment_bytes <= number:
                return False
        return False

    first, last = start_lsn // segment_bytes, end_lsn // segment_bytes
    lacking = next((number for number in range(first, last + 1) if not is_there(number)), None)
    if lacking is None or not (lacking == first or any(map(is_there, range(lacking + 1, last + 1)))):
        return None
    return Lsn(lacking * segment_bytes)


def _segments(wal_directory: Path, segment_bytes: int) -> set[tuple[int, int]]:
    """(timeline, number)."""
    per_id = 0x1_0000_0000 // segment_bytes
    return {
        (int(name[:8], 16), int(name[8:16], 16) * per_id + int(name[16:], 16))
        for name in os.listdir(wal_directory)
        if _SEGMENT.fullmatch(name)
    }
