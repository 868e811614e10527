"""A copy whose source falls silent in the middle: it ends within seconds, and says why (R9, R13)."""

from __future__ import annotations

import asyncio
import time

import pytest

from agents.core.steps import Clone, Rewind, StepFailed, Untouched, WriteSettings
from common.facts import PostgresState
from common.rule import FENCE
from tests.adapters.postgres.kit import Home
from tests.adapters.postgres.silent_source import cut_off_in_the_middle, freeze_in_the_middle, own_network
from tests.adapters.postgres.test_making import failed_over, rejoin

pytestmark = [pytest.mark.real, pytest.mark.covers("R9", "R13", "T25")]

WITHIN_S = 20
SILENT_MS = 4_000
"""On a starved machine a source that lives may keep a rewind waiting for more than a second."""


@pytest.mark.parametrize(("kind", "program"), [(Rewind, "pg_rewind"), (Clone, "pg_basebackup")])
async def test_a_copy_ends_soon_when_its_source_s_host_is_cut_off_in_the_middle(
    home: Home, kind: type[Rewind | Clone], program: str
) -> None:
    with own_network():
        async with home.member("a") as a, home.member("b") as b:
            await failed_over(a, b)
            await a.perform(WriteSettings(FENCE))
            copying = asyncio.ensure_future(a.perform(kind(b.upstream)))
            await cut_off_in_the_middle(b, program)
            begun_at = time.monotonic()
            with pytest.raises(StepFailed, match=f"{program} failed"):
                await asyncio.wait_for(copying, WITHIN_S)
            print(f"{program}: ended {time.monotonic() - begun_at:.1f} s after the cut")
            assert (await a.look()).postgres is PostgresState.HALF


async def test_a_rewind_whose_source_is_lost_before_anything_is_written_is_made_once_it_is_back(
    home: Home,
) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await failed_over(a, b)
        await a.perform(WriteSettings(FENCE))
        rewinding = asyncio.ensure_future(a.perform(Rewind(b.upstream)))
        await freeze_in_the_middle(b, "pg_rewind --dry-run")
        b.kill()
        with pytest.raises(Untouched, match="b takes no connection"):
            await asyncio.wait_for(rewinding, WITHIN_S)
        assert (await a.look()).postgres is PostgresState.STOPPED
        await b.stop(clean=False)
        await b.serve()
        await a.perform(Rewind(b.upstream))
        await a.mark()
        await rejoin(a, b)


async def test_a_rewind_that_may_have_written_is_no_more_than_a_half_one(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await failed_over(a, b)
        await a.perform(WriteSettings(FENCE))
        rewinding = asyncio.ensure_future(a.perform(Rewind(b.upstream)))
        await freeze_in_the_middle(b, "pg_rewind")
        b.kill()
        with pytest.raises(StepFailed) as failed:
            await asyncio.wait_for(rewinding, WITHIN_S)
        assert not isinstance(failed.value, Untouched)
        assert (await a.look()).postgres is PostgresState.HALF


@pytest.mark.parametrize(("kind", "program"), [(Rewind, "pg_rewind"), (Clone, "pg_basebackup")])
async def test_a_copy_ends_when_the_process_that_serves_it_stands_still(
    home: Home, kind: type[Rewind | Clone], program: str
) -> None:
    async with (
        home.member("a", rewind_silent_ms=SILENT_MS, clone_silent_ms=SILENT_MS) as a,
        home.member("b") as b,
    ):
        await failed_over(a, b)
        await a.perform(WriteSettings(FENCE))
        copying = asyncio.ensure_future(a.perform(kind(b.upstream)))
        await freeze_in_the_middle(b, program)
        with pytest.raises(StepFailed, match=f"{program} stood still for {SILENT_MS} ms"):
            await asyncio.wait_for(copying, WITHIN_S)
        assert (await a.look()).postgres is PostgresState.HALF
        b.kill()
