"""The record of each cluster: compare-and-swap under the leader's term (protocol.md, "The record")."""

from __future__ import annotations

from common.clock import Clock
from orchestrator.etcd.client import Client
from orchestrator.etcd.gathered import GatheredReads
from orchestrator.etcd.keyspace import Keyspace
from orchestrator.etcd.swap import swap
from orchestrator.ports import StoredRecord, Term


class EtcdRecordStore:
    def __init__(self, client: Client, keys: Keyspace, clock: Clock) -> None:
        self._client, self._keys, self._clock = client, keys, clock
        self._reads = GatheredReads(client)

    @property
    def etcd_cluster_id(self) -> int | None:
        return self._client.cluster_id

    async def load(self, cluster: str) -> StoredRecord | None:
        found = await self._reads.get(self._keys.record(cluster))
        return None if found is None else StoredRecord(found.value, found.mod_revision)

    async def save(self, cluster: str, body: bytes, expected_mod_revision: int, term: Term) -> int:
        return await swap(
            self._client,
            self._clock,
            key=self._keys.record(cluster),
            body=body,
            expected=expected_mod_revision,
            term=term,
        )
