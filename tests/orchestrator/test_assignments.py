"""When a member is told what it is asked: at once where it is new, and with a repetition where it is not."""

from __future__ import annotations

import asyncio

import pytest

from common.assignment import AnyOrder, Assignment, Follow, Seal, Upstream, Version
from common.codec import decode
from common.ids import IncarnationId, MemberName
from orchestrator.egress import assignments
from orchestrator.egress.assignments import Stream
from tests.orchestrator.fakes import SHOP, A

_OURS = IncarnationId("0" * 16)
_ANOTHER = IncarnationId("1" * 16)
_SEALED = Version(3, 7)
_FOLLOW = Follow(Upstream(MemberName("b"), "10.0.0.2", 5432), 3, ())


def _asked(order: AnyOrder, version: Version, incarnation: IncarnationId = _OURS) -> Assignment:
    return Assignment(SHOP, A, incarnation, 1, version, "", order)


async def _next(stream: Stream) -> Version:
    return decode(await stream.next_order(), Assignment).version


async def _told_to_seal() -> Stream:
    stream = Stream((SHOP, A), _OURS)
    stream.offer(_asked(Seal(), _SEALED))
    assert await _next(stream) == _SEALED
    stream.heard(_OURS, _SEALED)
    return stream


async def test_one_that_is_sealed_is_told_with_a_repetition_that_it_stays_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assignments, "REPEAT_EVERY_MS", 100)
    stream = await _told_to_seal()
    stream.offer(_asked(Seal(), Version(3, 8)))  # a candidate is chosen, and this is not the one
    asked = asyncio.ensure_future(_next(stream))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not asked.done()
    assert await asked == Version(3, 8)


@pytest.mark.parametrize(
    "new",
    [
        pytest.param(_asked(_FOLLOW, Version(3, 8)), id="something_else_is_asked"),
        pytest.param(_asked(Seal(), Version(4, 8)), id="in_another_epoch"),
        pytest.param(_asked(Seal(drain=True), Version(3, 8)), id="in_another_way"),
    ],
)
async def test_what_is_new_is_told_at_once(new: Assignment) -> None:
    stream = await _told_to_seal()
    stream.offer(new)
    asked = asyncio.ensure_future(_next(stream))
    for _ in range(3):
        await asyncio.sleep(0)
    assert asked.done()
    assert await asked == new.version


async def test_another_incarnation_is_told_at_once_what_the_one_before_knew() -> None:
    stream = await _told_to_seal()
    stream.heard(_ANOTHER, Version(0, 0))
    stream.offer(_asked(Seal(), Version(3, 8), _ANOTHER))
    asked = asyncio.ensure_future(_next(stream))
    for _ in range(3):
        await asyncio.sleep(0)
    assert asked.done()


async def test_what_follows_is_told_at_once_though_the_one_before_waits() -> None:
    stream = await _told_to_seal()
    asked = asyncio.ensure_future(_next(stream))
    stream.offer(_asked(Seal(), Version(3, 8)))
    await asyncio.sleep(0)
    stream.offer(_asked(_FOLLOW, Version(3, 9)))
    async with asyncio.timeout(assignments.REPEAT_EVERY_MS / 2_000):
        assert await asked == Version(3, 9)
