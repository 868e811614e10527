"""Every outside call goes through a named policy: a deadline, retries, a circuit breaker.

The policies stand in one table, so that `primacy policies`, the metrics and the documentation show the
same numbers. A call is repeated only where repeating is safe: after NotDelivered, or after a timeout of a
policy that is marked `repeatable`. The deadline of an attempt is enforced here; what a driver does when it
is cancelled (psycopg: 10 s against a frozen server) is for its adapter to bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

import stamina

from common.clock import Clock
from common.errors import NotDelivered, OutcomeUnknown
from common.timebase import Instant, after_ms

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Policy:
    """`meaning` is for people. Attempts wait `first_wait_ms`, doubled each time up to `longest_wait_ms`, with
    jitter of up to `first_wait_ms`."""

    name: str
    meaning: str
    timeout_ms: int
    """Of one attempt."""
    attempts: int = 1
    first_wait_ms: int = 50
    longest_wait_ms: int = 1_000
    repeatable: bool = False
    """Doing it twice is harmless: a timeout then counts as not delivered."""
    breaker_failures: int = 0
    """So many failures in a row open the breaker; 0: none."""
    breaker_open_ms: int = 5_000

    @property
    def timeout_s(self) -> float:
        return self.timeout_ms / 1000


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        policy.name: policy
        for policy in (
            Policy("agent.disk", "a durable write of the agent, or reading what lies there", 5_000),
            Policy("agent.facts.write", "write facts to the stream", 2_000),
            Policy("agent.session.open", "open the stream to a control node", 2_000, repeatable=True),
            Policy("agent.sql", "one statement of the agent; its socket is cut then", 500),
            Policy(
                "canary.connect",
                "the canary asks the name and connects, as a client; while the breaker is open, every 500 ms",
                200,
                repeatable=True,
                breaker_failures=1_500,
                breaker_open_ms=500,
            ),
            Policy("canary.resolve", "one look of the canary at the name of a cluster", 100, repeatable=True),
            Policy("canary.write", "one write of the canary; its socket is cut then", 300),
            Policy("dns.exchange", "one message to a name server, sent anew meanwhile", 500, repeatable=True),
            Policy(
                "dns.publish",
                "make the names of a cluster say what is wanted; begun anew until it was read back",
                2_500,
                first_wait_ms=100,
                longest_wait_ms=2_000,
                repeatable=True,
                breaker_failures=10,
                breaker_open_ms=2_000,
            ),
            Policy("dns.read_back", "ask every authoritative server", 1_500, repeatable=True),
            Policy(
                "etcd.connect", "wait for one member's channel; then the next is tried", 300, repeatable=True
            ),
            Policy("etcd.read", "one linearizable read from one member", 500, repeatable=True),
            Policy("etcd.request", "a request to etcd with all its attempts", 2_000),
            Policy("etcd.write", "a compare-and-swap; never repeated blindly", 500),
            Policy("observer.ask", "ask another control node what it heard; or the profile's time", 500),
            Policy("operator.forward", "pass on to the leader what people ask", 4_000),
            Policy(
                "probe.sql", "the leader's own look at a primary; or the profile's time", 500, repeatable=True
            ),
        )
    }
)
"""What the daemons go by. Where the profile gives a time (`confirm_within_ms`), the shorter one counts."""


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    """Calls fail at once."""
    TRYING = "trying"
    """One call is let through; its outcome decides."""


@dataclass(slots=True)
class Breaker:
    """Of one policy and target."""

    failures: int = 0
    opened_at: Instant | None = None
    trial_running: bool = False

    def state(self, policy: Policy, now: Instant) -> BreakerState:
        if self.opened_at is None:
            return BreakerState.CLOSED
        if self.trial_running or now < after_ms(self.opened_at, policy.breaker_open_ms):
            return BreakerState.OPEN
        return BreakerState.TRYING

    def succeeded(self) -> None:
        self.failures, self.opened_at, self.trial_running = 0, None, False

    def failed(self, policy: Policy, now: Instant) -> None:
        self.failures += 1
        self.trial_running = False
        if policy.breaker_failures and self.failures >= policy.breaker_failures:
            self.opened_at = now


@dataclass(slots=True)
class Caller:
    """Makes calls under policies and remembers the breakers; a process has one."""

    clock: Clock
    policies: Mapping[str, Policy] = field(default_factory=lambda: POLICIES)
    breakers: dict[tuple[str, str], Breaker] = field(default_factory=dict)
    counted: Callable[[str, str], None] = lambda policy, outcome: None
    """Told (policy, `tried`, `failed` or `not_tried`), for the metrics."""

    async def call(self, name: str, fn: Callable[[], Awaitable[T]], *, target: str = "") -> T:
        """Raise what `fn` raises; NotDelivered or OutcomeUnknown after a timeout; NotDelivered while open."""
        policy = self.policies[name]
        if policy.attempts == 1:  # nothing to repeat: the names of thousands of clusters come by here
            return await self._attempt(policy, fn, target)
        async for attempt in stamina.retry_context(
            on=NotDelivered,
            attempts=policy.attempts,
            timeout=None,
            wait_initial=policy.first_wait_ms / 1000,
            wait_max=policy.longest_wait_ms / 1000,
            wait_jitter=policy.first_wait_ms / 1000,
        ):
            with attempt:
                return await self._attempt(policy, fn, target)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _attempt(self, policy: Policy, fn: Callable[[], Awaitable[T]], target: str) -> T:
        breaker = self.breakers.setdefault((policy.name, target), Breaker())
        state = breaker.state(policy, self.clock.now())
        if state is BreakerState.OPEN:
            self.counted(policy.name, "not_tried")
            raise NotDelivered(
                f"{policy.name} {target}: not tried, it failed {breaker.failures} times in a row"
            )
        breaker.trial_running = state is BreakerState.TRYING
        self.counted(policy.name, "tried")
        try:
            async with asyncio.timeout(policy.timeout_ms / 1000):
                result = await fn()
        except TimeoutError as error:
            self._failed(policy, breaker)
            text = f"{policy.name} {target}: no answer within {policy.timeout_ms} ms"
            raise (NotDelivered(text) if policy.repeatable else OutcomeUnknown(text)) from error
        except (NotDelivered, OutcomeUnknown):
            self._failed(policy, breaker)
            raise
        except BaseException:
            breaker.trial_running = False  # a refusal is an answer, a cancellation is none: neither counts
            raise
        breaker.succeeded()
        return result

    def _failed(self, policy: Policy, breaker: Breaker) -> None:
        self.counted(policy.name, "failed")
        breaker.failed(policy, self.clock.now())
