"""The words of a request, and of its answer, in our types: keys are text, values are bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protos import etcd_pb2 as pb


@dataclass(frozen=True, slots=True)
class KeyValue:
    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease_id: int


@dataclass(frozen=True, slots=True)
class Listing:
    """A consistent picture as of `revision`."""

    revision: int
    found: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class TransactionResult:
    succeeded: bool
    revision: int
    ranges: tuple[tuple[KeyValue, ...], ...]
    """The answers of the reads in the branch that ran, in their order."""


def key_value(kv: pb.KeyValue) -> KeyValue:
    return KeyValue(
        kv.key.decode("utf-8", "replace"), kv.value, kv.create_revision, kv.mod_revision, kv.lease
    )


def key_values(kvs: Sequence[pb.KeyValue]) -> tuple[KeyValue, ...]:
    return tuple(key_value(kv) for kv in kvs)


def prefix_end(prefix: str) -> bytes:
    """The first key after all keys that begin with `prefix`."""
    raw = prefix.encode().rstrip(b"\xff")
    return raw[:-1] + bytes([raw[-1] + 1])


def created_at(key: str, revision: int) -> pb.Compare:
    """0: the key is absent."""
    return pb.Compare(
        result=pb.Compare.EQUAL, target=pb.Compare.CREATE, key=key.encode(), create_revision=revision
    )


def leased_to(key: str, lease_id: int) -> pb.Compare:
    """The key is there and lies under this lease (0: under none)."""
    return pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.LEASE, key=key.encode(), lease=lease_id)


def modified_at(key: str, revision: int) -> pb.Compare:
    """0: the key is absent."""
    return pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.MOD, key=key.encode(), mod_revision=revision)


def put(key: str, value: bytes, lease_id: int = 0) -> pb.RequestOp:
    return pb.RequestOp(request_put=pb.PutRequest(key=key.encode(), value=value, lease=lease_id))


def get(key: str) -> pb.RequestOp:
    return pb.RequestOp(request_range=pb.RangeRequest(key=key.encode()))


def delete(key: str) -> pb.RequestOp:
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key.encode()))


def transaction_result(response: pb.TxnResponse) -> TransactionResult:
    return TransactionResult(
        succeeded=response.succeeded,
        revision=response.header.revision,
        ranges=tuple(
            key_values(part.response_range.kvs)
            for part in response.responses
            if part.HasField("response_range")
        ),
    )
