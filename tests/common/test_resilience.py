"""A call is repeated only where that is safe; it is bounded, and given up for a while if it keeps failing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from common.clock import Clock
from common.errors import NotDelivered, OutcomeUnknown, Refused
from common.resilience import POLICIES, BreakerState, Caller, Policy
from common.timebase import Instant


class StandingClock(Clock):
    at = 0

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def now(self) -> Instant:
        return Instant(self.at)

    def wall_ms(self) -> int:
        return 0


def caller(policy: Policy) -> tuple[Caller, StandingClock]:
    clock = StandingClock()
    return Caller(clock, {policy.name: policy}, counted=lambda _, how: clock.counts.update([how])), clock


def failing(times: int, error: Exception) -> Callable[[], Awaitable[str]]:
    left = [times]

    async def call() -> str:
        if left[0]:
            left[0] -= 1
            raise error
        return "done"

    return call


async def test_what_was_surely_not_delivered_is_tried_again() -> None:
    calls, clock = caller(Policy("x", "", 1_000, 3, first_wait_ms=1, longest_wait_ms=2))
    assert await calls.call("x", failing(2, NotDelivered("no"))) == "done"
    assert clock.counts == {"tried": 3, "failed": 2}
    with pytest.raises(NotDelivered):
        await calls.call("x", failing(3, NotDelivered("no")))


@pytest.mark.parametrize("error", [OutcomeUnknown("?"), Refused("no")])
async def test_what_may_have_happened_or_was_refused_is_never_repeated(error: Exception) -> None:
    calls, clock = caller(Policy("x", "", 1_000, 3, first_wait_ms=1, longest_wait_ms=2))
    with pytest.raises(type(error)):
        await calls.call("x", failing(1, error))
    assert clock.counts["tried"] == 1


@pytest.mark.parametrize(("repeatable", "error"), [(True, NotDelivered), (False, OutcomeUnknown)])
async def test_a_timeout_is_sorted_by_whether_repeating_is_harmless(
    repeatable: bool, error: type[Exception]
) -> None:
    calls, _ = caller(Policy("x", "", 10, repeatable=repeatable))

    async def hang() -> None:
        await asyncio.Event().wait()

    with pytest.raises(error, match="within 10 ms"):
        await calls.call("x", hang)


async def test_the_breaker_opens_tries_once_and_closes() -> None:
    policy = Policy("x", "", 1_000, breaker_failures=2, breaker_open_ms=100)
    calls, clock = caller(policy)
    for _ in range(2):
        with pytest.raises(NotDelivered):
            await calls.call("x", failing(1, NotDelivered("no")), target="t")
    with pytest.raises(NotDelivered, match="not tried"):
        await calls.call("x", failing(0, NotDelivered("")), target="t")
    assert await calls.call("x", failing(0, NotDelivered("")), target="another") == "done"
    clock.at = 100_000
    assert await calls.call("x", failing(0, NotDelivered("")), target="t") == "done"
    assert calls.breakers["x", "t"].state(policy, clock.now()) is BreakerState.CLOSED


def test_every_policy_is_bounded_and_explained() -> None:
    for name, policy in POLICIES.items():
        assert name == policy.name
        assert policy.meaning
        assert 0 < policy.timeout_ms <= 10_000
        assert 1 <= policy.attempts <= 3
