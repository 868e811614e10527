"""A lease, and our own account of how long it surely still holds.

etcd's word "kept alive" is never enough (3.4 may say so of a lease that was revoked). What counts here:
a lease can't run out before the instant at which the newest answered request was *sent*, plus its time to
live. A margin is taken off for the drift of two clocks and for the time that stopping takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Never

from common.clock import Clock
from common.errors import NotDelivered, Refused
from common.timebase import SECOND_US, Instant, after_ms
from orchestrator.etcd.client import Client, Granted
from orchestrator.ports import ClusterIdChanged


class LeaseGone(Refused):
    """etcd does not know the lease (any more)."""


class Lease:
    def __init__(
        self, client: Client, clock: Clock, granted: Granted, *, asked_ttl_s: int, margin_ms: int
    ) -> None:
        self._client, self._clock = client, clock
        self.id = granted.lease_id
        self._ttl_s, self._margin_ms = asked_ttl_s, margin_ms
        self._safe_until = self._after(granted)

    @classmethod
    async def grant(cls, client: Client, clock: Clock, *, ttl_s: int, margin_ms: int) -> Lease:
        granted = await client.lease_grant(ttl_s)
        return cls(client, clock, granted, asked_ttl_s=ttl_s, margin_ms=margin_ms)

    @property
    def safe_until(self) -> Instant:
        return self._safe_until

    @property
    def is_safe(self) -> bool:
        return self._clock.now() < self._safe_until

    async def keep(
        self, every_ms: int, client: Client | None = None, runs: Callable[[], bool] = lambda: True
    ) -> Never:
        """Beat until etcd says that the lease is gone: raise LeaseGone. One failed beat means nothing.

        It does not end when `safe_until` passes: see `until_unsafe`, which waits for no answer. `client`: of another
        loop, where this runs there. While `runs` says no, no beat is sent.
        """
        while True:
            await asyncio.sleep(every_ms / 1000)
            if runs():
                await self.beat(client)

    async def beat(self, client: Client | None = None) -> None:
        try:
            granted = await (client or self._client).lease_keep_alive(self.id)
        except ClusterIdChanged:
            raise
        except (NotDelivered, Refused):
            return  # an odd answer is no news: the lease holds for as long as we know it to hold
        if granted.ttl_s <= 0:
            raise LeaseGone(f"lease {self.id:x} is gone")
        self._safe_until = max(self._safe_until, self._after(granted))

    async def until_unsafe(self) -> None:
        """Return when our own clock says that the lease may have run out, whatever anybody answers."""
        while True:
            left_us = self._safe_until - self._clock.now()
            if left_us <= 0:
                return
            await asyncio.sleep(left_us / SECOND_US)

    async def revoke(self) -> None:
        await self._client.lease_revoke(self.id)

    def _after(self, granted: Granted) -> Instant:
        # The server may grant more than was asked for; we never live on that.
        ttl_s = min(granted.ttl_s, self._ttl_s)
        return after_ms(granted.sent_at, ttl_s * 1000 - self._margin_ms)
