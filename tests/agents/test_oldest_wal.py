"""Where the WAL begins that is still there, by the names in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.postgres.oldest_wal import missing_wal, oldest_wal
from common.lsn import Lsn

_SEGMENT = 16 << 20


@pytest.mark.parametrize(
    ("names", "insert", "oldest"),
    [
        pytest.param(
            ["1/03", "1/04", "1/05", "1/06"], "0/5000028", "0/3000000", id="up_to_the_one_that_is_written"
        ),
        pytest.param(["1/03", "2/04", "2/05"], "0/5000028", "0/3000000", id="over_a_fork"),
        pytest.param(["1/01", "1/03", "1/04"], "0/4000028", "0/3000000", id="not_over_a_gap"),
        pytest.param(["1/03", "1/04"], "0/5000000", "0/3000000", id="the_next_one_is_not_made_yet"),
        pytest.param(["1/03"], "0/5000028", "0/0", id="the_one_that_is_written_was_not_seen"),
        pytest.param([], "0/0", "0/0", id="nothing_is_there"),
    ],
)
def test_wal_begins_where_segments_lead_up_to_the_end_without_a_gap(
    tmp_path: Path, names: list[str], insert: str, oldest: str
) -> None:
    for name in names:
        timeline, number = name.split("/")
        (tmp_path / f"{int(timeline):08X}00000000{int(number, 16):08X}").touch()
    for other in ("00000002.history", "000000010000000000000002.partial", "archive_status"):
        (tmp_path / other).touch()
    assert oldest_wal(tmp_path, Lsn.parse(insert), _SEGMENT) == Lsn.parse(oldest)


def test_numbers_go_on_from_one_log_id_to_the_next(tmp_path: Path) -> None:
    for name in ("0000000100000000000000FF", "000000010000000100000000"):
        (tmp_path / name).touch()
    assert oldest_wal(tmp_path, Lsn.parse("1/28"), _SEGMENT) == Lsn.parse("0/FF000000")


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        pytest.param("3 4 5 6", None, id="all_are_there"),
        pytest.param("3 4 5", None, id="the_last_one_has_not_come_yet"),
        pytest.param("3 6", "0/4000000", id="what_is_between_was_removed"),
        pytest.param("4 5 6", "0/3000000", id="the_first_one_was_removed"),
        pytest.param("", "0/3000000", id="nothing_is_there"),
        pytest.param("3 4 9", None, id="one_that_was_recycled_for_later"),
    ],
)
def test_wal_is_missing_where_a_later_segment_is_there(
    tmp_path: Path, numbers: str, missing: str | None
) -> None:
    for number in numbers.split():
        (tmp_path / f"00000001000000000000000{number}").touch()
    found = missing_wal(tmp_path, Lsn.parse("0/3000028"), Lsn.parse("0/6000100"), _SEGMENT)
    assert found == (None if missing is None else Lsn.parse(missing))
