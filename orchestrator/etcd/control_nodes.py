"""Who is there: every control node keeps one key under a lease of its own, whether it leads or not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from common.clock import Clock
from common.codec import decode, encode
from common.errors import NotDelivered, OutcomeUnknown, Refused
from orchestrator.etcd.client import Client
from orchestrator.etcd.keyspace import Keyspace
from orchestrator.etcd.lease import Lease, LeaseGone
from orchestrator.ports import ClusterIdChanged, ControlNode

log = structlog.get_logger()

_TTL_S = 10
_BEAT_EVERY_MS = 2_500
_RETRY_EVERY_MS = 500


@dataclass(frozen=True, slots=True)
class _Entry:
    address: str
    since_wall_ms: int


class EtcdControlNodes:
    def __init__(self, client: Client, keys: Keyspace, clock: Clock, *, name: str, address: str) -> None:
        self._client, self._keys, self._clock = client, keys, clock
        self._key = keys.control_node(name)
        self._value = encode(_Entry(address, clock.wall_ms()))

    async def run(self) -> None:
        while True:
            try:
                lease = await Lease.grant(self._client, self._clock, ttl_s=_TTL_S, margin_ms=0)
                await self._client.put(self._key, self._value, lease.id)
                await lease.keep(_BEAT_EVERY_MS)
            except LeaseGone:
                continue
            except ClusterIdChanged:
                raise
            except (NotDelivered, OutcomeUnknown, Refused) as error:
                # An unknown put under an old lease does no harm: the same words, and they end with it.
                log.warning("control_node.not_registered", error=str(error))
            await asyncio.sleep(_RETRY_EVERY_MS / 1000)

    async def present(self) -> Sequence[ControlNode]:
        listing = await self._client.get_prefix(self._keys.control_nodes)
        nodes = []
        for kv in listing.found:
            try:
                entry = decode(kv.value, _Entry)
            except ValueError:
                continue  # not ours to read: a newer version's, or a stranger's
            name = kv.key.removeprefix(self._keys.control_nodes)
            nodes.append(ControlNode(name, entry.address, entry.since_wall_ms))
        return tuple(nodes)
