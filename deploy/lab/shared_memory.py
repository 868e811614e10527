"""Segments of shared memory that killed PostgreSQLs left behind.

A postmaster that starts again removes its own old one only if it comes to it: it looks from the key that the inode of
its data directory gives upwards to the first that is free (PGSharedMemoryCreate). Where members have disks of their own
those inodes are alike, so what they leave adds up; and every look at /proc/sysvipc/shm walks through all there is.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TABLE = Path("/proc/sysvipc/shm")
REMOVED_WITHIN_S = 10


@dataclass(frozen=True, slots=True)
class Segment:
    identifier: str
    owner_uid: int
    creator_pid: int
    attached_count: int
    created_s: int
    """Since the epoch."""


def segments(table: str) -> Iterator[Segment]:
    """Of the text of /proc/sysvipc/shm (sysvipc(5))."""
    names, *lines = table.splitlines()
    columns = {name: place for place, name in enumerate(names.split())}
    for line in lines:
        row = line.split()
        yield Segment(
            row[columns["shmid"]],
            int(row[columns["uid"]]),
            int(row[columns["cpid"]]),
            int(row[columns["nattch"]]),
            int(row[columns["ctime"]]),
        )


def left_behind(table: str, owner_uids: set[int], since_s: float) -> list[str]:
    """Nobody's any more: of these users, created since, its creator gone and nobody attached."""
    return [
        segment.identifier
        for segment in segments(table)
        if segment.attached_count == 0
        and segment.owner_uid in owner_uids
        and segment.created_s >= int(since_s)
        and not Path(f"/proc/{segment.creator_pid}").exists()
    ]


def remove_left_behind(owner_uids: set[int], since_ticks: int) -> None:
    """`since_ticks`: in the kernel's ticks since boot."""
    booted_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    since_s = booted_s + since_ticks / os.sysconf("SC_CLK_TCK")
    remove(left_behind(TABLE.read_text(), owner_uids, since_s))


def remove_named_by(data_directory: Path) -> None:
    """The segment that a killed postmaster names in its file, if nobody is attached to it any more."""
    try:
        named = (data_directory / "postmaster.pid").read_text().split("\n")[6].split()[1]
    except (OSError, IndexError):
        return
    found = segments(TABLE.read_text())
    remove([s.identifier for s in found if s.identifier == named and s.attached_count == 0])


def remove(identifiers: list[str]) -> None:
    if identifiers:
        words = [word for identifier in identifiers for word in ("-m", identifier)]
        subprocess.run(["ipcrm", *words], capture_output=True, timeout=REMOVED_WITHIN_S, check=False)
