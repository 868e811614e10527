"""The control nodes' own name server: its sockets, its limits, and the port `NameService` on it.

Here: UDP and TCP around `Authority`, for people without a name server. Every control node runs one
and feeds its table from the record, so followers answer too, and all go on answering with the last
known record when etcd is away.

The answerer shares its loop with failure detection, so its share is bounded: datagrams a turn,
answers a second, connections, queries and seconds a connection. What is over a limit is dropped
and counted; a resolver asks again, a heartbeat would be lost.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from common.errors import BadConfig, Refused
from common.resilience import POLICIES
from orchestrator.core.names import (
    NameAnswer,
    Published,
    ServerAnswer,
    WantedNames,
    normal_name,
)
from orchestrator.egress.dns_authority import (
    REQUEST_BYTES_MAX,
    AnsweredZone,
    Authority,
    Heard,
    NameTable,
)
from orchestrator.egress.dns_key import ServerAddress
from orchestrator.egress.dns_read import read_from_each

_PORTS_TRIED = 20


@dataclass(frozen=True, slots=True)
class AnswererLimits:
    datagrams_a_turn: int = 16
    answers_per_s: int = 1000  # at 0.15 to 0.3 ms each: a quarter of one core at the worst
    connections: int = 64
    queries_a_connection: int = 100
    idle_s: float = 2.0
    connection_s: float = 10.0
    receive_buffer_bytes: int = 256 * 1024


class Answerer:
    """One server for all zones of this control node, on the addresses it was given.

    Give real addresses, not 0.0.0.0: a reply from another address than the one asked is dropped by
    resolvers. Port 0 takes any free port, the same for UDP and TCP.
    """

    def __init__(
        self,
        listen: Sequence[ServerAddress],
        zones: Sequence[AnsweredZone],
        table: NameTable,
        limits: AnswererLimits | None = None,
    ) -> None:
        self._listen = tuple(listen)
        self._limits = limits or AnswererLimits()
        self._authority = Authority(zones, table)
        self._connections: set[asyncio.StreamWriter] = set()
        self._window_until_s = 0.0
        self._answered_in_window = 0
        self.addresses: tuple[ServerAddress, ...] = ()

    @property
    def heard(self) -> Counter[Heard]:
        """How many packets and connections ended how, since the start; for the metrics."""
        return self._authority.heard

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer until the block ends. Raise BadConfig where an address can't be listened on."""
        loop = asyncio.get_running_loop()
        endpoints: list[socket.socket] = []
        servers: list[asyncio.Server] = []
        try:
            for address in self._listen:
                udp, tcp = _bind_both(address, self._limits)
                endpoints += [udp, tcp]
                servers.append(await asyncio.start_server(self._converse, sock=tcp, backlog=64))
                loop.add_reader(udp, self._drain, udp)
            bound = [endpoint for endpoint in endpoints if endpoint.type == socket.SOCK_DGRAM]
            self.addresses = tuple(ServerAddress(*endpoint.getsockname()[:2]) for endpoint in bound)
            yield
        finally:
            for endpoint in endpoints:
                if endpoint.type == socket.SOCK_DGRAM:
                    loop.remove_reader(endpoint)
            for server in servers:
                server.close()
            for writer in tuple(self._connections):
                writer.transport.abort()  # the conversation ends by itself with "connection lost"
            for server in servers:
                await server.wait_closed()
            for endpoint in endpoints:
                endpoint.close()

    def _drain(self, udp: socket.socket) -> None:
        for _ in range(self._limits.datagrams_a_turn):
            try:
                # One byte more than may be read, so that a longer one is known as such.
                wire, peer = udp.recvfrom(REQUEST_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except OSError:
                self.heard[Heard.DROPPED_UNSENT] += 1  # an earlier reply could not be delivered
                continue
            if not self._within_rate():
                self.heard[Heard.DROPPED_OVER_RATE] += 1
                continue
            reply = self._authority.reply(wire, by_tcp=False)
            if reply is None:
                continue
            try:
                udp.sendto(reply, peer)
            except OSError:  # a full buffer, a port 0, a route that is gone: they ask again
                self.heard[Heard.DROPPED_UNSENT] += 1

    def _within_rate(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._window_until_s:
            self._window_until_s = now_s + 0.1
            self._answered_in_window = 0
        self._answered_in_window += 1
        return self._answered_in_window <= self._limits.answers_per_s // 10

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._limits.connections:
            self.heard[Heard.TCP_OVER_LIMIT] += 1
            writer.transport.abort()
            return
        self._connections.add(writer)
        try:
            async with asyncio.timeout(self._limits.connection_s):
                for _ in range(self._limits.queries_a_connection):
                    if not await self._answer_one(reader, writer):
                        break
            writer.close()
        except TimeoutError:
            self.heard[Heard.TCP_TOO_SLOW] += 1
        except (asyncio.IncompleteReadError, ConnectionError) as gone:
            if not isinstance(gone, asyncio.IncompleteReadError) or gone.partial:
                self.heard[Heard.TCP_BROKEN] += 1
        finally:
            self._connections.discard(writer)
            if not writer.is_closing():
                writer.transport.abort()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        async with asyncio.timeout(self._limits.idle_s):
            length = int.from_bytes(await reader.readexactly(2), "big")
            if length > REQUEST_BYTES_MAX:
                self.heard[Heard.DROPPED_LONG] += 1
                return False
            wire = await reader.readexactly(length)
            if not self._within_rate():
                self.heard[Heard.DROPPED_OVER_RATE] += 1
                return False
            reply = self._authority.reply(wire, by_tcp=True)
            if reply is None:
                return False
            writer.write(struct.pack("!H", len(reply)) + reply)
            await writer.drain()
            return True


class AnswererNames:
    """See `orchestrator.ports.NameService`: one zone of our own answerers.

    Publishing changes this control node's table; the others change theirs when they see the
    record. `verify` lists all of them, this one included, and they are asked over the network.
    """

    def __init__(
        self,
        zone: str,
        table: NameTable,
        verify: Sequence[ServerAddress] = (),
        *,
        exchange_within_s: float = POLICIES["dns.exchange"].timeout_s,
    ) -> None:
        self._zone = normal_name(zone)
        self._table = table
        self._verify = tuple(verify)
        self._exchange_within_s = exchange_within_s

    async def publish(self, wanted: WantedNames) -> Published:
        if wanted.zone != self._zone:
            raise Refused(f"{wanted.cluster} is in zone {wanted.zone}, this answerer is for {self._zone}")
        return self._table.publish(wanted)

    async def read_back(self, cluster: str) -> tuple[ServerAnswer, ...]:
        if self._verify:
            return await read_from_each(self._verify, cluster, self._zone, within_s=self._exchange_within_s)
        return (self._own_answer(cluster),)

    def _own_answer(self, cluster: str) -> ServerAnswer:
        names = self._table.get(cluster)
        if names is None or names.zone != self._zone:
            return ServerAnswer("this control node", NameAnswer(), NameAnswer())
        texts = (f'"{names.version.text}"',)
        return ServerAnswer(
            "this control node", NameAnswer(names.primary, texts), NameAnswer(names.replicas, texts)
        )


def _bind_both(address: ServerAddress, limits: AnswererLimits) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP on one port. A free one (port 0) is searched for by trying."""
    tries = _PORTS_TRIED if address.port == 0 else 1
    for tries_left in reversed(range(tries)):
        udp = _socket(address, socket.SOCK_DGRAM)
        tcp = _socket(address, socket.SOCK_STREAM)
        try:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.receive_buffer_bytes)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.bind((address.host, address.port))
            tcp.bind((address.host, udp.getsockname()[1]))
        except OSError as trouble:
            udp.close()
            tcp.close()
            if tries_left == 0:
                remedy = "is another name server running there, or is the port below 1024?"
                raise BadConfig(
                    [f"DNS answerer: can't listen on {address} ({trouble}); {remedy}"]
                ) from trouble
        else:
            return udp, tcp
    raise AssertionError("unreachable: the last try raises or returns")


def _socket(address: ServerAddress, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    endpoint = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    if family == socket.AF_INET6:
        endpoint.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return endpoint
