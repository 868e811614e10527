"""The first file of a timeline, where not all of it came.

Blocking. A standby that attaches to a new timeline is sent its first segment from the segment's beginning, what its
parent wrote in it too. Until that is there the file is worse than none: PostgreSQL reads the segment from the newest
timeline's file alone, though its own older one holds more, then asks to be streamed what the parent wrote, and gives
up ("according to history file, WAL location … belongs to timeline …, but previous recovered WAL file came from
timeline …"; xlogrecovery.c, WaitForWALToBecomeAvailable): at this start and at every other one. A receiver that
ends in that moment is enough: its connection lost, its host, its disk full.

Nothing is lost with such a file. What lies in it below the fork is no WAL of its timeline, and nobody counted it: it
confirms no commit of that timeline, and a seal ends where the parent's files do (wal_end.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agents.postgres.files import sync_directory
from agents.postgres.histories import list_histories
from agents.postgres.wal_end import reads_up_to
from agents.postgres.wal_pages import PAGE, Chain, Unreadable, WalPages, chain_of, segment_path
from common.lsn import Lsn

_CHUNK: Final = 1 << 18


def remove_what_was_cut_short(wal_directory: Path, *, timeline: int, segment_bytes: int) -> tuple[Path, ...]:
    """`timeline` is the control file's. Answers what was removed. Nothing of PostgreSQL may run. Raise OSError
    when it can't be read."""
    cut = []
    for file in list_histories(wal_directory, timeline):
        if file.placeholder:
            continue
        chain = chain_of(wal_directory, file.timeline)
        if all(leg.timeline != timeline for leg in chain.legs):
            continue  # of another branch
        segment = chain.legs[0].begin_lsn // segment_bytes
        path, after = (
            segment_path(wal_directory, chain.timeline, number, segment_bytes)
            for number in (segment, segment + 1)
        )
        # With anything above the fork it was whole once: then something is damaged, and that is not hidden.
        if (
            path.exists()
            and not after.exists()
            and not _reaches_its_fork(wal_directory, chain, segment_bytes)
            and _is_empty_from(path, chain.legs[0].begin_lsn % segment_bytes)
        ):
            cut.append(path)
    for path in cut:
        path.unlink()
    if cut:
        sync_directory(wal_directory)
    return tuple(cut)


def _reaches_its_fork(wal_directory: Path, chain: Chain, segment_bytes: int) -> bool:
    fork_lsn = chain.legs[0].begin_lsn
    with WalPages(wal_directory, chain, segment_bytes) as pages:
        for page_at in range(fork_lsn - fork_lsn % segment_bytes, fork_lsn, PAGE):
            try:
                page = pages.page(page_at)
            except Unreadable:
                return False
            first_lsn = page_at + page.first_record_inside
            if first_lsn < min(fork_lsn, page_at + PAGE):
                return reads_up_to(pages, Lsn(first_lsn), fork_lsn)
    return True


def _is_empty_from(path: Path, inside: int) -> bool:
    with path.open("rb") as file:
        file.seek(inside)
        while chunk := file.read(_CHUNK):
            if chunk != bytes(len(chunk)):
                return False
    return True
