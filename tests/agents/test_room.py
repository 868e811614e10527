"""A full disk, and what the agent keeps for itself on it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from agents import room
from agents.core.state import AgentState
from agents.epoch_store import EpochStore
from agents.room import KEPT_BYTES, Room
from common.ids import ClusterName, IncarnationId, MemberName

STATE = AgentState(ClusterName("shop"), MemberName("a"), IncarnationId("0" * 16))


def full_until_there_is_room(folder: Path) -> Callable[[], str]:
    """As a write is on a disk whose last blocks are those that are kept."""

    def write() -> str:
        if (folder / "reserve").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return "written"

    return write


def test_a_write_that_finds_the_disk_full_takes_what_was_kept_for_it(tmp_path: Path) -> None:
    kept = Room(tmp_path)
    kept.keep()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= KEPT_BYTES  # blocks, and no hole
    assert kept.use(full_until_there_is_room(tmp_path)) == "written"
    kept.keep()
    assert (tmp_path / "reserve").exists()  # there is ample room again


def test_where_nothing_was_kept_and_for_other_errors_it_fails_as_it_did(tmp_path: Path) -> None:
    kept = Room(tmp_path)

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        kept.use(full)
    kept.keep()
    with pytest.raises(OSError, match="Input/output"):
        kept.use(_broken)
    assert (tmp_path / "reserve").exists()


def _broken() -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_what_is_left_of_a_small_disk_is_postgresqls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "AMPLE_BYTES", 1 << 62)
    Room(tmp_path).keep()
    assert not (tmp_path / "reserve").exists()


def test_a_promise_is_stored_on_a_full_disk(tmp_path: Path) -> None:
    """The lab's: a standby whose disk was full could not seal, and its agent ended, again and again."""
    store = EpochStore.open(tmp_path)
    try:
        replace, times = store._replace, []

        def full(content: bytes) -> None:
            times.append(len(content))
            if (tmp_path / "reserve").exists():
                raise OSError(errno.ENOSPC, "No space left on device")
            replace(content)

        store._replace = full  # type: ignore[method-assign]
        with pytest.raises(OSError, match="No space"):
            store.save_now(STATE, is_a_promise=False)
        times.clear()
        store.save_now(STATE)
        assert store.current == STATE
        assert len(times) == 2
        assert not (tmp_path / "reserve").exists()
    finally:
        store.close()
