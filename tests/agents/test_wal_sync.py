"""What a seal says of a stopped server is on disk (protocol.md, R1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.postgres.wal_sync import last_segments, sync_wal
from common.lsn import Lsn

_MIB = 1 << 20
_SEGMENT = 16 * _MIB


def _named(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"wal")


def test_the_last_two_segments_are_meant_on_any_timeline(tmp_path: Path) -> None:
    """A write may have crossed into the last one a moment ago; what lies below was synced by PostgreSQL."""
    _named(
        tmp_path,
        "000000010000000100000002",
        "000000010000000100000003",
        "000000020000000100000003",
        "000000020000000100000004",
        "000000020000000100000005",
        "000000020000000000000004",
        "00000002.history",
        "000000020000000100000004.partial",
    )
    meant = last_segments(tmp_path, end_lsn=Lsn((1 << 32) + 4 * _SEGMENT + 8), segment_bytes=_SEGMENT)
    assert [path.name for path in meant] == [
        "000000010000000100000003",
        "000000020000000100000003",
        "000000020000000100000004",
    ]


def test_segments_of_another_size_are_counted_in_that_size(tmp_path: Path) -> None:
    _named(tmp_path, "000000010000000000000FFF", "000000010000000100000000", "000000010000000100000001")
    meant = last_segments(tmp_path, end_lsn=Lsn(1 << 32), segment_bytes=_MIB)
    assert [path.name for path in meant] == ["000000010000000000000FFF", "000000010000000100000000"]


def test_a_segment_that_cannot_be_synced_is_no_promise(tmp_path: Path) -> None:
    (tmp_path / "000000010000000000000001").symlink_to(tmp_path / "gone")
    with pytest.raises(OSError, match="No such file"):
        sync_wal(tmp_path, end_lsn=Lsn(_SEGMENT + 1), segment_bytes=_SEGMENT)
