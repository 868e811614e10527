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

from common.lsn import ZERO, Lsn

_SEGMENT: Final = re.compile(r"[0-9A-F]{24}")


def oldest_wal(wal_directory: Path, insert_lsn: Lsn, segment_bytes: int) -> Lsn:
    """Where the segments begin that lead up to `insert_lsn` without a gap; ZERO when that is not known: the last one is
    just being made. Raise OSError when the directory can't be read."""
    per_id = 0x1_0000_0000 // segment_bytes
    there = {
        int(name[8:16], 16) * per_id + int(name[16:], 16)
        for name in os.listdir(wal_directory)
        if _SEGMENT.fullmatch(name)
    }
    oldest = max(0, insert_lsn - 1) // segment_bytes
    if oldest not in there:
        return ZERO
    while oldest - 1 in there:
        oldest -= 1
    return Lsn(oldest * segment_bytes)
