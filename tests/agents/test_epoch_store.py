"""What the agent remembers survives every cut, and never goes back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents.core.lost import renewed, why_renewed
from agents.core.state import AgentState
from agents.core.steps import Sight
from agents.epoch_store import STATE_FILE, EpochStore
from common.assignment import Version
from common.errors import BadConfig
from common.facts import PostgresState
from common.ids import ClusterName, IncarnationId, MemberName

SHOP, A = ClusterName("shop"), MemberName("a")
STATE = AgentState(SHOP, A, IncarnationId("0" * 16), "7", Version(3, 30), sealed_epoch=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EpochStore]:
    opened = EpochStore.open(tmp_path)
    yield opened
    opened.close()


async def test_what_was_saved_is_loaded(store: EpochStore) -> None:
    await store.save(STATE)
    assert store.load(SHOP, A, wall_ms=1).state == STATE


async def test_a_write_that_was_cut_short_leaves_the_old_state(store: EpochStore, tmp_path: Path) -> None:
    await store.save(STATE)
    (tmp_path / f"{STATE_FILE}.new").write_bytes(b'{"clus')
    assert store.load(SHOP, A, wall_ms=1).state == STATE


async def test_the_stored_version_never_decreases(store: EpochStore) -> None:
    await store.save(STATE)
    with pytest.raises(AssertionError, match="I9"):
        await store.save(replace(STATE, obeyed=Version(3, 29)))


def test_a_corrupt_state_counts_as_none_and_is_kept_aside(store: EpochStore, tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_bytes(b"\0" * 100)
    loaded = store.load(SHOP, A, wall_ms=42)
    assert loaded.state is None
    assert (tmp_path / f"{STATE_FILE}.corrupt-42").read_bytes() == b"\0" * 100
    assert "corrupt-42" in loaded.trouble


@pytest.mark.covers("S44")
def test_two_agents_on_one_directory_refuse_with_both_pids(store: EpochStore, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=f"pid {os.getpid()}"):
        EpochStore.open(tmp_path)


async def test_the_state_of_another_member_is_refused(store: EpochStore) -> None:
    await store.save(STATE)
    with pytest.raises(BadConfig, match="shop/a"):
        store.load(SHOP, MemberName("b"), wall_ms=1)


@pytest.mark.parametrize(
    ("sight", "lost"),
    [
        pytest.param(Sight(PostgresState.STOPPED, "7"), False, id="ours"),
        pytest.param(Sight(PostgresState.ABSENT), True, id="gone"),
        pytest.param(Sight(PostgresState.STOPPED, "7", marker_matches=False), True, id="exchanged"),
        pytest.param(Sight(PostgresState.STOPPED, "8"), True, id="of_another_cluster"),
    ],
)
def test_who_lost_its_data_directory_is_a_new_incarnation(sight: Sight, lost: bool) -> None:
    assert bool(why_renewed(STATE, sight)) is lost
    assert not why_renewed(replace(STATE, rebuilding="clone"), sight)
    other = renewed(STATE, IncarnationId("1" * 16))
    assert other.obeyed == STATE.obeyed
    assert not other.system_identifier
