"""Making durable what a scan has read (protocol.md, R1).

Blocking; called on a lane. A server that was killed leaves the last of its WAL in the page cache: a seal that names
an end beyond the disk would be a promise that a power cut takes back. PostgreSQL itself syncs everything at the
start after a crash (recovery_init_sync_method), all WAL at a clean stop, and a walreceiver as its last act; nobody
does for one that was killed and stays stopped.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from common.lsn import Lsn

_SEGMENT = re.compile(r"^[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})$")


def sync_wal(wal_directory: Path, *, end_lsn: Lsn, segment_bytes: int) -> None:
    """The segment that `end_lsn` lies in, and the one before. Raises OSError: then nothing may be promised.

    What lies below is durable: PostgreSQL syncs a segment when it goes on to the next one, and the folder when it
    makes one (xlog.c: XLogWrite, InstallXLogFileSegment).
    """
    for path in last_segments(wal_directory, end_lsn=end_lsn, segment_bytes=segment_bytes):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def last_segments(wal_directory: Path, *, end_lsn: Lsn, segment_bytes: int) -> tuple[Path, ...]:
    """Of any timeline."""
    last = end_lsn // segment_bytes
    per_high = (1 << 32) // segment_bytes
    found = []
    for path in wal_directory.iterdir():
        named = _SEGMENT.match(path.name)
        if named and last - 1 <= int(named[1], 16) * per_high + int(named[2], 16) <= last:
            found.append(path)
    return tuple(sorted(found))
