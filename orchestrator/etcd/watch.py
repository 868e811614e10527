"""Watching keys without a gap that goes unnoticed.

A stream is opened for a few seconds, then anew from the next revision: so a frozen member, a half-open
connection or a stray stream is over soon, without a second task that watches the watch. Before each opening
a linearizable read goes to the same member, because one that is cut off from its peers would serve the
stream in silence. Whatever can't be continued without a gap ends in `Relist`.

`progress_notify` is asked for, but its revision is not used to move on: etcd 3.4 may send it ahead of
events that it has still to deliver.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from common.errors import Refused
from orchestrator.etcd import translate
from orchestrator.etcd.transaction import KeyValue, key_value
from protos import etcd_pb2 as pb

if TYPE_CHECKING:
    from orchestrator.etcd.client import Client

ENDED_WHILE_WE_WROTE = (asyncio.InvalidStateError, grpc.aio.InternalError)
"""A stream whose deadline passed, or that its server ended: which of the two depends on whether our library had told us
already. A busy control node meets both."""


@dataclass(frozen=True, slots=True)
class Change:
    key: str
    now: KeyValue | None
    """None: deleted."""
    revision: int


@dataclass(frozen=True, slots=True)
class Changes:
    """In the order in which they happened; a revision is never split between two of these."""

    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Alive:
    """Nothing new, and the watch is still good. Comes at least at every re-opening of the stream."""


@dataclass(frozen=True, slots=True)
class Relist:
    """The end of this watch: changes may have been missed. List again, and watch from there."""

    reason: str
    compact_revision: int


WatchEvent = Changes | Alive | Relist


async def watch(
    client: Client, key: str, range_end: bytes, start_revision: int
) -> AsyncGenerator[WatchEvent, None]:
    """Everything from `start_revision` on. Raise NotDelivered when no member answers in time; Refused."""
    if start_revision <= 0:
        raise ValueError("a watch starts after a listing: give the listing's revision plus one")
    next_revision = start_revision
    # A small answer is wanted: whether the member can still answer for its peers.
    question = pb.RangeRequest(key=key.encode(), range_end=range_end, count_only=True)
    while True:
        await client.range(question)
        endpoint = client.endpoint
        metadata = (*await client.metadata(endpoint), ("hasleader", "true"))
        call = endpoint.watch(timeout=client.times.watch_for_ms / 1000, metadata=metadata)
        ended_by_itself = False
        try:
            await call.write(
                pb.WatchRequest(
                    create_request=pb.WatchCreateRequest(
                        key=key.encode(),
                        range_end=range_end,
                        start_revision=next_revision,
                        progress_notify=True,
                    )
                )
            )
            while isinstance(response := await call.read(), pb.WatchResponse):
                client.check(response.header)
                if response.canceled:
                    yield Relist(response.cancel_reason or "canceled by etcd", response.compact_revision)
                    return
                if response.events:
                    changes = tuple(_change(event) for event in response.events)
                    next_revision = max(next_revision, max(change.revision for change in changes) + 1)
                    yield Changes(changes)
                elif not response.created:
                    yield Alive()
            ended_by_itself = True
        except ENDED_WHILE_WE_WROTE:
            ended_by_itself = True
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                ended_by_itself = True
                if isinstance(refused := translate.of_read(error, endpoint.address), Refused):
                    raise refused from error
        finally:
            call.cancel()
        if ended_by_itself:
            client.rotate(endpoint)
            await asyncio.sleep(client.times.pause_ms / 1000)
        yield Alive()


def _change(event: pb.Event) -> Change:
    kv = key_value(event.kv)
    return Change(kv.key, None if event.type == pb.Event.DELETE else kv, kv.mod_revision)
