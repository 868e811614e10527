"""One etcd member: a long-lived channel and its typed calls. No retries and no choice of member here.

The calls are spelled out instead of taken from the generated stub classes, because those carry no types.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from common.clock import Clock
from common.errors import BadConfig
from common.timebase import Instant
from protos import etcd_pb2 as pb

_OPTIONS: tuple[tuple[str, int], ...] = (
    # etcd closes the connection of a client that pings more often than every 5 s ("too_many_pings"). A
    # dead member is noticed by the deadline of each call, not by pings.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # gRPC must never send a request twice by itself: whether that is safe is known only here.
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    # A member that hangs for one client must not hang for another one of this process.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
)

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)

_READY_POLLED_EVERY_S = 0.005


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM. The certificate and key are ours (mutual TLS); without them etcd must not ask for any."""

    ca: bytes
    certificate: bytes | None = None
    key: bytes | None = None


def target(address: str, tls: Tls | None) -> str:
    """`http://host:port`, `https://host:port` or `host:port` as gRPC wants it; raise BadConfig."""
    scheme, separator, rest = address.partition("://")
    bare = (rest if separator else address).rstrip("/")
    if separator and scheme not in ("http", "https"):
        raise BadConfig([f"etcd endpoint {address!r}: use http://HOST:PORT or https://HOST:PORT"])
    if scheme == "https" and tls is None:
        raise BadConfig([f"etcd endpoint {address!r}: https needs ca_file (and usually a certificate)"])
    if separator and scheme == "http" and tls is not None:
        raise BadConfig([f"etcd endpoint {address!r}: certificates are configured, so write https://"])
    host, _, port = bare.rpartition(":")
    if not host or not port.isdigit():
        raise BadConfig([f"etcd endpoint {address!r}: the port is missing, use HOST:PORT"])
    return bare


class Endpoint:
    def __init__(self, address: str, tls: Tls | None) -> None:
        self.address = address
        bare = target(address, tls)
        if tls is None:
            self._channel = grpc.aio.insecure_channel(bare, options=_OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
            self._channel = grpc.aio.secure_channel(bare, credentials, options=_OPTIONS)
        self.range = self._unary("KV/Range", pb.RangeRequest, pb.RangeResponse)
        self.put = self._unary("KV/Put", pb.PutRequest, pb.PutResponse)
        self.delete_range = self._unary("KV/DeleteRange", pb.DeleteRangeRequest, pb.DeleteRangeResponse)
        self.txn = self._unary("KV/Txn", pb.TxnRequest, pb.TxnResponse)
        self.lease_grant = self._unary("Lease/LeaseGrant", pb.LeaseGrantRequest, pb.LeaseGrantResponse)
        self.lease_revoke = self._unary("Lease/LeaseRevoke", pb.LeaseRevokeRequest, pb.LeaseRevokeResponse)
        self.lease_keep_alive = self._stream(
            "Lease/LeaseKeepAlive", pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse
        )
        self.watch = self._stream("Watch/Watch", pb.WatchRequest, pb.WatchResponse)
        self.status = self._unary("Maintenance/Status", pb.StatusRequest, pb.StatusResponse)
        self.member_list = self._unary("Cluster/MemberList", pb.MemberListRequest, pb.MemberListResponse)
        self.authenticate = self._unary("Auth/Authenticate", pb.AuthenticateRequest, pb.AuthenticateResponse)

    def _unary(
        self, path: str, _: type[Request], answer: type[Answer]
    ) -> grpc.aio.UnaryUnaryMultiCallable[Request, Answer]:
        return self._channel.unary_unary(f"/etcdserverpb.{path}", _serialized, answer.FromString)

    def _stream(
        self, path: str, _: type[Request], answer: type[Answer]
    ) -> grpc.aio.StreamStreamMultiCallable[Request, Answer]:
        return self._channel.stream_stream(f"/etcdserverpb.{path}", _serialized, answer.FromString)

    async def ready(self, clock: Clock, until: Instant) -> bool:
        """Whether a request handed over now leaves for the member. Connects; waits no longer than `until`.

        This is how "surely not delivered" is known: what was never handed to a ready channel was not sent.
        """
        while self._channel.get_state(try_to_connect=True) is not grpc.ChannelConnectivity.READY:
            if clock.now() >= until:
                return False
            await asyncio.sleep(_READY_POLLED_EVERY_S)
        return True

    async def close(self) -> None:
        await self._channel.close()


def _serialized(request: Message) -> bytes:
    return request.SerializeToString()
