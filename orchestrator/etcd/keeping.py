"""Keeping a term: the lease's beats and the election's proofs, in a thread beside the loop that leads.

A leader of thousands of clusters is busy, and that must not cost it the election. But one whose loop hangs leads nobody:
the lease is kept only while the loop shows that it runs (`Held.alive_at`). Nothing else of the election is decided here:
what was found out is the loop's to act on.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from common.clock import Clock
from common.errors import NotDelivered, Refused
from common.timebase import Instant, after_ms
from orchestrator.etcd.client import Client
from orchestrator.etcd.lease import Lease, LeaseGone
from orchestrator.etcd.transaction import KeyValue
from orchestrator.ports import ClusterIdChanged, Term

Over = str | ClusterIdChanged
"""Why a term is over, in words; or that another etcd answers."""


@dataclass(slots=True)
class Held:
    """A term that is ours, as both threads see it. Nothing is kept in step: each field is a number by itself."""

    term: Term
    lease: Lease
    proof_sent_at: Instant
    """When the newest proof was sent; it only grows."""
    alive_at: Instant
    """When the loop that leads ran last."""

    def proved(self, sent_at: Instant) -> None:
        self.proof_sent_at = max(self.proof_sent_at, sent_at)


@dataclass(frozen=True, slots=True)
class KeepingTimes:
    beat_every_ms: int
    prove_every_ms: int
    hung_after_ms: int


async def keep(held: Held, client: Client, clock: Clock, times: KeepingTimes) -> Over:
    """Until the term is over, as far as etcd says; cancel it where anything else says so first."""

    def runs() -> bool:
        return clock.now() < after_ms(held.alive_at, times.hung_after_ms)

    async def beat() -> Over:
        try:
            await held.lease.keep(times.beat_every_ms, client, runs)
        except LeaseGone:
            return "etcd does not know the lease any more"
        except ClusterIdChanged as changed:
            return changed

    async def prove() -> Over:
        while True:
            await asyncio.sleep(times.prove_every_ms / 1000)
            sent_at = clock.now()
            try:
                found = await client.get(held.term.key)
            except ClusterIdChanged as changed:
                return changed
            except (NotDelivered, Refused):
                continue  # the proof grows old, and those who need a young one see that
            if not is_ours(found, held.term):
                return NOT_OURS
            held.proved(sent_at)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(beat()), group.create_task(prove())]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
    return done.pop().result()


NOT_OURS = "the election key is not ours any more"


def is_ours(found: KeyValue | None, term: Term) -> bool:
    """By the lease too: an etcd restored from a copy counts up again, and may give a revision twice."""
    return found is not None and (found.create_revision, found.lease_id) == (
        term.create_revision,
        term.lease_id,
    )
