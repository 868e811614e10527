"""Accounts of the past for people: operations, incidents, epochs. Written by the leader under its term.

Nothing decides by them, so losing one to an outage is a pity and no danger. An old write that comes late must
still not overwrite a newer one: each put compares the note's own revision too.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.clock import Clock
from common.errors import LostLeadership
from orchestrator.etcd.client import Client
from orchestrator.etcd.keyspace import Keyspace
from orchestrator.etcd.swap import swap
from orchestrator.etcd.transaction import created_at, delete, get, leased_to, prefix_end
from orchestrator.ports import NOTES_KEPT, Conflict, Note, Shelf, Term
from protos import etcd_pb2 as pb

_PRUNED_AT_ONCE = 50
"""Deletions in one transaction; etcd allows 128 operations by default."""
_NEWEST_MAX = 1_000
_PUT_ATTEMPTS = 3


class EtcdHistoryStore:
    def __init__(self, client: Client, keys: Keyspace, clock: Clock) -> None:
        self._client, self._keys, self._clock = client, keys, clock

    async def put(self, shelf: Shelf, cluster: str, note_id: str, body: bytes, term: Term) -> int:
        key = self._keys.note(shelf, cluster, note_id)
        attempts = 0
        while True:
            found = await self._client.get(key)
            expected = 0 if found is None else found.mod_revision
            try:
                return await swap(self._client, self._clock, key=key, body=body, expected=expected, term=term)
            except Conflict:  # an older put of ours landed in between
                attempts += 1
                if attempts == _PUT_ATTEMPTS:
                    raise

    async def get(self, shelf: Shelf, cluster: str, note_id: str) -> Note | None:
        found = await self._client.get(self._keys.note(shelf, cluster, note_id))
        return None if found is None else Note(note_id, found.value, found.mod_revision)

    async def newest(self, shelf: Shelf, cluster: str, count: int) -> Sequence[Note]:
        prefix = self._keys.shelf(shelf, cluster)
        answer = await self._client.range(
            pb.RangeRequest(
                key=prefix.encode(),
                range_end=prefix_end(prefix),
                limit=min(count, _NEWEST_MAX),
                sort_order=pb.RangeRequest.DESCEND,
                sort_target=pb.RangeRequest.CREATE,
            )
        )
        return tuple(
            Note(kv.key.decode("utf-8", "replace").removeprefix(prefix), kv.value, kv.mod_revision)
            for kv in answer.kvs
        )

    async def prune(self, shelf: Shelf, cluster: str, term: Term, keep: int = NOTES_KEPT) -> int:
        prefix = self._keys.shelf(shelf, cluster)
        counted = await self._client.range(
            pb.RangeRequest(key=prefix.encode(), range_end=prefix_end(prefix), count_only=True)
        )
        excess = min(counted.count - keep, _PRUNED_AT_ONCE)
        if excess <= 0:
            return 0
        oldest = await self._client.range(
            pb.RangeRequest(
                key=prefix.encode(),
                range_end=prefix_end(prefix),
                limit=excess,
                keys_only=True,
                sort_order=pb.RangeRequest.ASCEND,
                sort_target=pb.RangeRequest.CREATE,
            )
        )
        result = await self._client.transaction(
            [created_at(term.key, term.create_revision), leased_to(term.key, term.lease_id)],
            [delete(kv.key.decode()) for kv in oldest.kvs],
            [get(term.key)],
        )
        if not result.succeeded:
            raise LostLeadership(f"term {term.create_revision} is over: nothing was pruned")
        return len(oldest.kvs)
