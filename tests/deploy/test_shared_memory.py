"""Of what lies about in shared memory a lab removes what its own PostgreSQLs left, and nothing else."""

from __future__ import annotations

import os

import pytest

from deploy.lab.shared_memory import TABLE, left_behind, segments

GONE = 4_194_999  # above the highest pid that Linux gives
HEAD = "key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap\n"


def line(*, pid: int = GONE, attached: int = 0, uid: int = 104, created_s: int = 1_000) -> str:
    return f"20521 77 600 56 {pid} {pid} {attached} {uid} 1 {uid} 1 0 0 {created_s} 4096 0\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(line(), ["77"], id="a_killed_postmaster_s"),
        pytest.param(line(attached=1), [], id="somebody_is_attached"),
        pytest.param(line(uid=105), [], id="another_user_s"),
        pytest.param(line(created_s=999), [], id="older_than_the_lab"),
        pytest.param(line(pid=os.getpid()), [], id="its_postmaster_lives"),
    ],
)
def test_a_segment_is_left_behind_when_nobody_has_it_any_more(text: str, expected: list[str]) -> None:
    assert left_behind(HEAD + text, {104}, 1_000.9) == expected


def test_the_kernel_s_own_table_can_be_read() -> None:
    assert all(segment.created_s > 0 for segment in segments(TABLE.read_text()))
