"""What a control node remembers on its disk (R14)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from common.assignment import Version
from common.errors import BadConfig
from common.facts import NO_VERSION
from orchestrator.shell.highest_seen import FILE_NAME, HighestSeen
from tests.orchestrator.fakes import SHOP


async def test_what_was_seen_last_is_on_disk_after_an_orderly_stop(tmp_path: Path) -> None:
    memory = HighestSeen(tmp_path, write_after_s=60)
    running = asyncio.create_task(memory.run())
    await asyncio.sleep(0)
    memory.note(SHOP, Version(3, 17))
    await asyncio.sleep(0.01)
    assert not (tmp_path / FILE_NAME).exists()
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert HighestSeen(tmp_path).of(SHOP) == Version(3, 17)


async def test_what_is_lower_is_not_remembered(tmp_path: Path) -> None:
    memory = HighestSeen(tmp_path)
    assert memory.of(SHOP) == NO_VERSION
    memory.note(SHOP, Version(3, 17))
    memory.note(SHOP, Version(3, 16))
    assert memory.of(SHOP) == Version(3, 17)


async def test_a_file_that_cannot_be_understood_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("{")
    with pytest.raises(BadConfig, match="remove it only if etcd was never restored"):
        HighestSeen(tmp_path)


async def test_a_disk_that_refuses_at_a_stop_is_no_failure_of_the_stop(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    memory = HighestSeen(folder, write_after_s=60)
    running = asyncio.create_task(memory.run())
    await asyncio.sleep(0)
    memory.note(SHOP, Version(3, 17))
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
