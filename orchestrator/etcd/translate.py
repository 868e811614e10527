"""What a gRPC status from etcd means for the caller. Nobody above this package sees gRPC's exceptions.

etcd labels some errors wrongly or vaguely (a time-out may come as UNAVAILABLE or UNKNOWN), so only a
status that can't be anything but a refusal counts as one; everything else on a write is unknown.
"""

from __future__ import annotations

import grpc
import grpc.aio

from common.errors import FailoverError, NotDelivered, OutcomeUnknown, Refused

_REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)


def is_refusal(error: grpc.aio.AioRpcError) -> bool:
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # From the server: out of space, too many requests. From our own library: an answer that is too
        # large, which comes after the deed.
        return (error.details() or "").startswith("etcdserver:")
    return error.code() in _REFUSALS


def wants_new_token(error: grpc.aio.AioRpcError) -> bool:
    """The request was turned away before it did anything, because our login is out of date."""
    details = error.details() or ""
    return error.code() is grpc.StatusCode.UNAUTHENTICATED or (
        error.code() is grpc.StatusCode.INVALID_ARGUMENT
        and ("user name is empty" in details or "revision of auth store is old" in details)
    )


def describe(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details() or 'no details'}"


def of_write(error: grpc.aio.AioRpcError, address: str) -> FailoverError:
    """Of a write that was handed to a ready channel."""
    kind = Refused if is_refusal(error) else OutcomeUnknown
    return kind(f"etcd {address}: {describe(error)}")


def of_read(error: grpc.aio.AioRpcError, address: str) -> FailoverError:
    kind = Refused if is_refusal(error) else NotDelivered
    return kind(f"etcd {address}: {describe(error)}")
