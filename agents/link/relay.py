"""Beats of peers passed on: whoever hears a primary that no control node answers lets them know that it lives.

A primary whose beats nobody acknowledges sends them to its peers too (`beat.py`); each passes on what it gets to all
control nodes, sealed once more as its own. It can't open it, and need not: only a control node has the keys of all.
Nobody is told anything back, and no lease comes this way (protocol.md, "When to try").
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import structlog

from agents.config import AgentConfig
from common.addresses import plain_address
from common.beat_bytes import sender_of
from common.clock import Clock
from common.datagram import DATAGRAM_BYTES_MAX, Header, RelayFrame, member_id, seal
from common.timebase import Instant, elapsed_ms

log: Any = structlog.get_logger()

DRAIN_MAX: Final = 64
A_SECOND_MAX: Final = 60
"""From one address, which is more than any primary beats. The address may be forged: then so many datagrams a second go
to the control nodes, which drop them by their seal."""


class Relay:
    def __init__(self, config: AgentConfig, clock: Clock) -> None:
        self._clock = clock
        self._key, self._generation = config.beat_key, config.beat_key_generation
        self._member_id = member_id(config.cluster, config.member)
        self._boot_id = secrets.randbits(64)
        self._sequence = 0
        self._bind = (config.listen_address, config.peer_port)
        self._targets = [(node.address, node.beat_port) for node in config.control]
        self._passed_on: dict[str, int] = {}
        """By the address of a peer, in this second."""
        self._second_began_at = Instant(0)
        self._socket: socket.socket | None = None
        self.counts: Counter[str] = Counter()

    def told_peers(self, addresses: Iterable[str]) -> None:
        """By the leader, of the cluster's specification."""
        self._passed_on = dict.fromkeys(map(plain_address, addresses), 0)

    async def run(self) -> None:
        """Without its port there are no relays, and everything else goes on."""
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self._bind[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            try:
                sock.bind(self._bind)
            except OSError as error:
                log.warning("relay.no_port", address=self._bind[0], port=self._bind[1], error=str(error))
                await asyncio.Event().wait()
            self._socket = sock
            loop.add_reader(sock, self._drain)
            try:
                await asyncio.Event().wait()
            finally:
                loop.remove_reader(sock)
                self._socket = None

    def _drain(self) -> None:
        assert self._socket is not None
        for _ in range(DRAIN_MAX):
            try:
                data, source = self._socket.recvfrom(DATAGRAM_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except OSError:  # an ICMP answer to an earlier one
                continue
            self._pass_on(data, plain_address(str(source[0])))

    def _pass_on(self, data: bytes, source: str) -> None:
        if source not in self._passed_on or sender_of(data) is None:
            self.counts["foreign"] += 1
            return
        now = self._clock.now()
        if elapsed_ms(since=self._second_began_at, now=now) >= 1_000:
            self._second_began_at, self._passed_on = now, dict.fromkeys(self._passed_on, 0)
        if self._passed_on[source] >= A_SECOND_MAX:
            self.counts["too_many"] += 1
            return
        self._passed_on[source] += 1
        self._sequence += 1
        header = Header(self._member_id, self._generation, self._boot_id, self._sequence, now)
        relayed = seal(self._key, RelayFrame(header, data))
        for target in self._targets:
            self._send(relayed, target)
        self.counts["passed_on"] += 1

    def _send(self, data: bytes, target: tuple[str, int]) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(data, target)
        except OSError:  # no route, a full buffer: a lost datagram like any other
            self.counts["not_sent"] += 1
