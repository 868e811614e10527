"""Making durable what a scan has read (protocol.md, R1).

Blocking; called on a lane. A server that was killed leaves the last of its WAL in the page cache: a seal that names
an end beyond the disk would be a promise that a power cut takes back. PostgreSQL itself syncs everything at the
start after a crash (recovery_init_sync_method), and a walreceiver as its last act; nobody does for one that stays
stopped.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from agents.postgres.files import sync_directory
from common.lsn import Lsn

_SEGMENT = re.compile(r"^[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})$")


def sync_wal(wal_directory: Path, *, start_lsn: Lsn, end_lsn: Lsn, segment_bytes: int) -> None:
    """Every segment, of any timeline, that has a byte of it. Raises OSError: then nothing may be promised."""
    for path in segments_between(
        wal_directory, start_lsn=start_lsn, end_lsn=end_lsn, segment_bytes=segment_bytes
    ):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    sync_directory(wal_directory)


def segments_between(
    wal_directory: Path, *, start_lsn: Lsn, end_lsn: Lsn, segment_bytes: int
) -> tuple[Path, ...]:
    first, last = start_lsn // segment_bytes, end_lsn // segment_bytes
    per_high = (1 << 32) // segment_bytes
    found = []
    for path in wal_directory.iterdir():
        named = _SEGMENT.match(path.name)
        if named and first <= int(named[1], 16) * per_high + int(named[2], 16) <= last:
            found.append(path)
    return tuple(sorted(found))
