"""Where the WAL begins that is still there, by the names in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.postgres.oldest_wal import missing_wal, oldest_wal
from agents.postgres.wal_pages import Chain, Leg
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


_CHAIN = Chain((Leg(2, Lsn.parse("0/5000200")), Leg(1, Lsn(0))))


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        pytest.param("1/3 1/4 2/5 2/6", None, id="all_are_there"),
        pytest.param("1/3 1/4 1/5 2/5 2/6", None, id="the_parent_s_beside_the_fork_s"),
        pytest.param("1/3 1/4 2/5", None, id="the_last_one_has_not_come_yet"),
        pytest.param("1/3 2/6", "0/4000000", id="what_is_between_was_removed"),
        pytest.param("1/4 2/5 2/6", "0/3000000", id="the_first_one_was_removed"),
        pytest.param("1/3 1/4 1/5 2/6", "0/5000000", id="of_the_fork_s_segment_the_parent_s_file_alone"),
        pytest.param("", "0/3000000", id="nothing_is_there"),
        pytest.param("1/3 1/4 2/9", None, id="one_that_was_recycled_for_later"),
    ],
)
def test_wal_is_missing_where_a_later_segment_is_there(
    tmp_path: Path, names: str, missing: str | None
) -> None:
    for name in names.split():
        timeline, number = name.split("/")
        (tmp_path / f"0000000{timeline}000000000000000{number}").touch()
    found = missing_wal(tmp_path, _CHAIN, Lsn.parse("0/3000028"), Lsn.parse("0/6000100"), _SEGMENT)
    assert found == (None if missing is None else Lsn.parse(missing))
