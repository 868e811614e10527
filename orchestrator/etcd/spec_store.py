"""Specifications: what people asked for, and the feed by which a leader learns of it at once.

Saving one is a person's act: it is compared with what that person has read, not with anybody's term.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from types import MappingProxyType

import structlog

from common.clock import Clock
from common.errors import NotDelivered, Refused
from common.timebase import elapsed_ms
from orchestrator.etcd.client import GETS_AT_ONCE, Client
from orchestrator.etcd.keyspace import Keyspace
from orchestrator.etcd.swap import swap
from orchestrator.etcd.transaction import prefix_end
from orchestrator.etcd.watch import Alive, Change, Changes, Relist
from orchestrator.ports import ClusterIdChanged, StoredSpec
from protos import etcd_pb2 as pb

log = structlog.get_logger()

_RELIST_EVERY_MS = 30_000
"""The feed lists anew this often even when nothing seems wrong: what a bug anywhere hid is cured then."""
_RETRY_EVERY_MS = 200
_KEYS_AT_ONCE = 128


class EtcdSpecStore:
    def __init__(
        self, client: Client, keys: Keyspace, clock: Clock, *, relist_every_ms: int = _RELIST_EVERY_MS
    ) -> None:
        self._client, self._keys, self._clock = client, keys, clock
        self._relist_every_ms = relist_every_ms

    async def load(self, cluster: str) -> StoredSpec | None:
        found = await self._client.get(self._keys.spec(cluster))
        return None if found is None else StoredSpec(cluster, found.value, found.mod_revision)

    async def save(self, cluster: str, body: bytes, expected_mod_revision: int) -> int:
        return await swap(
            self._client,
            self._clock,
            key=self._keys.spec(cluster),
            body=body,
            expected=expected_mod_revision,
            term=None,
        )

    async def load_all(self) -> Mapping[str, StoredSpec]:
        specs, _ = await self._list()
        return MappingProxyType(specs)

    def feed(self) -> AbstractAsyncContextManager[AsyncIterator[Mapping[str, StoredSpec]]]:
        return aclosing(self._snapshots())

    async def _snapshots(self) -> AsyncGenerator[Mapping[str, StoredSpec], None]:
        told: dict[str, StoredSpec] | None = None
        while True:
            try:
                specs, revision = await self._list(told or {})
                changed, told = specs != told, specs
                if changed:
                    yield MappingProxyType(specs)
                listed_at = self._clock.now()
                async with aclosing(
                    self._client.watch(self._keys.clusters, prefix=True, start_revision=revision + 1)
                ) as events:
                    async for event in events:
                        match event:
                            case Changes(changes):
                                # Of all that is written below a cluster's prefix specifications are the least.
                                specs = self._folded(specs, changes)
                                if specs is not told and specs != told:
                                    told = specs
                                    yield MappingProxyType(specs)
                            case Alive():
                                if elapsed_ms(since=listed_at, now=self._clock.now()) > self._relist_every_ms:
                                    break
                            case Relist(reason=reason, compact_revision=compacted):
                                log.info("specs.listed_anew", reason=reason, compacted=compacted)
                                break
                continue
            except ClusterIdChanged:
                raise
            except (NotDelivered, Refused) as error:
                log.warning("specs.feed_interrupted", error=str(error))
            await asyncio.sleep(_RETRY_EVERY_MS / 1000)

    def _folded(self, specs: dict[str, StoredSpec], changes: tuple[Change, ...]) -> dict[str, StoredSpec]:
        """The same where none of the changes is one of a specification."""
        of_specs = [
            (cluster, change)
            for change in changes
            if (cluster := self._keys.cluster_of_spec(change.key)) is not None
        ]
        if not of_specs:
            return specs
        folded = dict(specs)
        for cluster, change in of_specs:
            if change.now is None:
                folded.pop(cluster, None)
            else:
                folded[cluster] = StoredSpec(cluster, change.now.value, change.now.mod_revision)
        return folded

    async def _list(
        self, known: Mapping[str, StoredSpec] = MappingProxyType({})
    ) -> tuple[dict[str, StoredSpec], int]:
        """All specifications as of one revision; of those that are known only the changed ones are read.

        From page to page of keys; where a cluster's history is longer than the page, on to the next cluster.
        """
        found: dict[str, int] = {}
        prefix = self._keys.clusters
        start, end, revision = prefix.encode(), prefix_end(prefix), 0
        while True:
            page = await self._client.range(
                pb.RangeRequest(
                    key=start, range_end=end, limit=_KEYS_AT_ONCE, keys_only=True, revision=revision
                )
            )
            revision = revision or page.header.revision
            for kv in page.kvs:
                cluster = self._keys.cluster_of_spec(kv.key.decode("utf-8", "replace"))
                if cluster is not None:
                    found[cluster] = kv.mod_revision
            if not page.more:
                break
            directory, _, _ = page.kvs[-1].key.removeprefix(prefix.encode()).partition(b"/")
            last = directory.decode("utf-8", "replace")
            if last not in found:
                found[last] = 0  # whether it has one is not known yet
            start = prefix.encode() + directory + b"0"  # the first key after everything below `directory/`
        specs: dict[str, StoredSpec] = {}
        unknown: list[str] = []
        for cluster, mod_revision in found.items():
            before = known.get(cluster)
            if before is not None and before.mod_revision == mod_revision:
                specs[cluster] = before
            else:
                unknown.append(cluster)
        for first in range(0, len(unknown), GETS_AT_ONCE):
            some = unknown[first : first + GETS_AT_ONCE]
            bodies = await self._client.get_many(
                [f"{prefix}{cluster}/spec" for cluster in some], revision=revision
            )
            for cluster, body in zip(some, bodies, strict=True):
                if body is not None:
                    specs[cluster] = StoredSpec(cluster, body.value, body.mod_revision)
        return specs, revision
