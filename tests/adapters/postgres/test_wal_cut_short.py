"""A standby that ended in its first moments on a new timeline starts again (agents/postgres/wal_beginning.py)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from agents.core.steps import (
    EndReceivers,
    MakeSlots,
    MeasureEnd,
    PlaceHistories,
    Promoted,
    PromotePostgres,
    StartStandby,
    StepFailed,
    StopPostgres,
    WriteSettings,
)
from agents.postgres.sql import NoAnswer
from agents.postgres.wal_pages import PAGE, segment_path
from common.rule import FENCE
from tests.adapters.postgres.kit import SOLO, Home, Member, eventually, own

pytestmark = pytest.mark.real

SEGMENT_BYTES = 16 << 20
CUT_AT = 9 << 20
"""Inside of the first segment: above where the copies begin to replay, below where they fork."""
REFUSAL = "belongs to timeline 1, but previous recovered WAL file came from timeline 2"


async def forked(a: Member, b: Member, c: Member) -> tuple[Promoted, Path]:
    """`b` was promoted inside of a segment, `c` is stopped and knows of it; the path is that of the new timeline's first
    file in `c`'s pg_wal, where there is none yet."""
    await a.serve()
    await b.follow(a)
    await c.follow(a)
    a.ask("create table t as select i, repeat('x', 1000) as x from generate_series(1, 3000) as i")
    await eventually(lambda: b.has_received(a) and c.has_received(a))
    a.kill()
    for one in (b, c):
        await one.perform(WriteSettings(FENCE))
        await one.perform(EndReceivers())
    done = await b.perform(PromotePostgres(within_ms=10_000))
    assert isinstance(done, Promoted)
    await b.perform(WriteSettings(SOLO))
    assert done.switch_lsn % SEGMENT_BYTES > CUT_AT + PAGE
    await c.perform(PlaceHistories(done.timeline, (await b.look()).history))
    c.kill()
    await c.perform(StopPostgres())
    return done, segment_path(c.wal, done.timeline, done.switch_lsn // SEGMENT_BYTES, SEGMENT_BYTES)


def received(b: Member, path: Path, length: int) -> None:
    """As a receiver leaves it that wrote so much of it; PostgreSQL made it as long as a segment is."""
    with path.open("wb") as file:
        file.write((b.wal / path.name).read_bytes()[:length])
        file.truncate(SEGMENT_BYTES)
    own(path)


async def is_refused(b: Member, c: Member) -> None:
    stream = c.stream(b, 2)
    await b.perform(MakeSlots((stream.slot,), 2))
    await c.perform(WriteSettings(FENCE, stream))
    with suppress(StepFailed, NoAnswer):  # it may die before it takes SQL, or after
        await c.perform(StartStandby())
    await eventually(lambda: REFUSAL in c.config.log_file.read_text())


@pytest.mark.parametrize(
    "length",
    [
        pytest.param(0, id="nothing_came"),
        pytest.param(CUT_AT, id="up_to_a_page"),
        pytest.param(CUT_AT + 1000, id="up_to_the_middle_of_a_page"),
    ],
)
async def test_a_first_file_that_does_not_reach_its_fork_is_received_again(home: Home, length: int) -> None:
    async with home.member("a") as a, home.member("b") as b, home.member("c") as c:
        done, path = await forked(a, b, c)
        received(b, path, length)
        end = await c.perform(MeasureEnd())
        assert (end.timeline, end.end_lsn) == (1, done.switch_lsn), "a seal does not go by it"
        await c.follow(b, epoch=2)
        b.ask("create table u as select 1 as i")
        await eventually(lambda: c.has_replayed(b))
        assert (await c.instance.measure()).timeline == done.timeline


async def test_what_has_come_whole_stays(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b, home.member("c") as c:
        done, path = await forked(a, b, c)
        received(b, path, done.switch_lsn % SEGMENT_BYTES)
        before = os.stat(path).st_ino
        await c.follow(b, epoch=2)
        assert os.stat(path).st_ino == before
        await eventually(lambda: c.has_replayed(b))


@pytest.mark.parametrize("what", ["a_file_after_it", "a_record_above_the_fork"])
async def test_where_it_was_whole_once_something_else_is_wrong_and_nothing_is_hidden(
    home: Home, what: str
) -> None:
    """It shows too what the rest is for: the day PostgreSQL starts over such a file, all of this can go."""
    async with home.member("a") as a, home.member("b") as b, home.member("c") as c:
        done, path = await forked(a, b, c)
        received(b, path, CUT_AT)
        if what == "a_file_after_it":
            after = segment_path(c.wal, done.timeline, done.switch_lsn // SEGMENT_BYTES + 1, SEGMENT_BYTES)
            after.write_bytes(bytes(SEGMENT_BYTES))
            own(after)
        else:
            above = done.switch_lsn % SEGMENT_BYTES
            with path.open("r+b") as file:
                file.seek(above)
                file.write((b.wal / path.name).read_bytes()[above : above + PAGE])
        await is_refused(b, c)
        assert path.exists()
