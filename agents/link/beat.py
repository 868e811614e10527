"""UDP beats to every control node, and their acknowledgements (interfaces.md, "UDP frame").

At the profile's period by role, and at once when something happened. An acknowledgement extends the deadline
only if it echoes a beat of this process, and grants for the epoch that is served now; the lease counts from
our own reading of the clock before that beat was sent.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import structlog

from agents.config import AgentConfig
from agents.link.reports import Reports
from common.clock import Clock
from common.datagram import (
    DATAGRAM_BYTES_MAX,
    AckFrame,
    BadDatagram,
    BeatFrame,
    Header,
    Replayed,
    member_id,
    open_frame,
    seal,
)
from common.profile import Profile
from common.timebase import Instant, elapsed_ms

log: Any = structlog.get_logger()

SENT_KEPT: Final = 256
"""How many beats an acknowledgement may lag behind; at 50 ms a beat these are 12 s."""
DRAIN_MAX: Final = 64
UNANSWERED_BEATS: Final = 3
"""By all control nodes together: where packets are lost here and there it does not come to that."""

Grant = Callable[[int, Instant, int], None]
"""(epoch, when the beat was sent, lease ms)."""


class Beats:
    def __init__(
        self, config: AgentConfig, keeper: Reports, clock: Clock, profile: Callable[[], Profile]
    ) -> None:
        self._keeper, self._clock, self._profile = keeper, clock, profile
        self._key, self._generation = config.beat_key, config.beat_key_generation
        self._member_id = member_id(config.cluster, config.member)
        self._boot_id = secrets.randbits(64)
        self._sequence = 0
        self._sent: OrderedDict[int, Instant] = OrderedDict()
        self._targets = [(node.address, node.beat_port) for node in config.control]
        self._bind = config.listen_address
        self._socket: socket.socket | None = None
        self._again = asyncio.Event()
        self._measured_sent_at = Instant(0)
        self.counts: Counter[str] = Counter()
        self.udp_acknowledged_at: Instant | None = None
        """When the newest acknowledgement arrived by UDP."""
        self._answered_at = clock.now()
        """On whatever way; at the beginning, when this was begun."""
        self._peer_port = config.peer_port
        self._peers: list[tuple[str, int]] = []
        self.on_grant: Grant = lambda epoch, sent_at, lease_ms: None
        self.on_leader: Callable[[str, int], None] = lambda name, term: None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self._bind else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((self._bind, 0))
            self._socket = sock
            loop.add_reader(sock, self._drain)
            try:
                await self._send_for_ever()
            finally:
                loop.remove_reader(sock)
                self._socket = None

    def told_peers(self, addresses: Iterable[str]) -> None:
        """By the leader: who passes beats on to the control nodes while none of them answers (`relay.py`)."""
        self._peers = [(address, self._peer_port) for address in dict.fromkeys(addresses)]

    def send_now(self) -> None:
        """Something happened. Sent before this returns; the period begins anew."""
        self._send()
        self._again.set()

    def measured(self) -> None:
        """A standby's word about what it received is a witness's: it goes out as soon as it is known, once a period.

        Measured and sent by two clocks of half a second each, it would be a second old at the worst, which is longer
        than a silent primary is given; then one that only we don't hear would be replaced.
        """
        every_ms = self._profile().beat_standby_every_ms
        now = self._clock.now()
        if self._keeper.is_primary or elapsed_ms(since=self._measured_sent_at, now=now) < every_ms * 4 // 5:
            return
        self._measured_sent_at = now
        self.send_now()

    def next_beat(self) -> BeatFrame:
        """For the stream, where UDP is filtered; numbered like the others."""
        return self._keeper.beat(self._next_header())

    async def _send_for_ever(self) -> None:
        self._send()
        while True:
            self._again.clear()
            profile = self._profile()
            every_ms = profile.beat_primary_every_ms
            if not self._keeper.is_primary:
                every_ms = profile.beat_standby_every_ms * 6 // 5  # mostly `measured` comes before
            try:
                async with asyncio.timeout(every_ms / 1000):
                    await self._again.wait()  # one was sent meanwhile: the period begins anew
            except TimeoutError:
                self._send()

    def _next_header(self) -> Header:
        now = self._clock.now()  # before sending: the lease counts from here
        self._sequence += 1
        self._sent[self._sequence] = now
        while len(self._sent) > SENT_KEPT:
            self._sent.popitem(last=False)
        return Header(self._member_id, self._generation, self._boot_id, self._sequence, now)

    def _send(self) -> None:
        if self._socket is None:
            return
        data = seal(self._key, self._keeper.beat(self._next_header()))
        targets = self._targets
        if self._is_unanswered():
            self.counts["peers_asked"] += 1
            targets = [*targets, *self._peers]
        for target in targets:
            try:
                self._socket.sendto(data, target)
            except BlockingIOError:
                self.counts["send_would_block"] += 1
            except OSError as error:  # no route, a firewall's answer: a lost datagram like any other
                self.counts[f"send_{errno.errorcode.get(error.errno or 0, 'failed').lower()}"] += 1
            else:
                self.counts["sent"] += 1

    def _is_unanswered(self) -> bool:
        """Soon enough for a peer's word to come before anybody is suspected."""
        if not self._keeper.is_primary:
            return False
        unanswered_ms = elapsed_ms(since=self._answered_at, now=self._clock.now())
        return unanswered_ms >= UNANSWERED_BEATS * self._profile().beat_primary_every_ms

    def _drain(self) -> None:
        assert self._socket is not None
        for _ in range(DRAIN_MAX):
            try:
                data = self._socket.recv(DATAGRAM_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except OSError:  # an ICMP answer to an earlier beat
                self.counts["receive_failed"] += 1
                continue
            try:
                frame = open_frame(data, self._key_of)
                if not isinstance(frame, AckFrame):
                    raise Replayed("not an acknowledgement")
                self._acknowledged(frame)
                self.udp_acknowledged_at = self._clock.now()
            except BadDatagram as bad:
                self.counts[bad.kind] += 1

    def _acknowledged(self, ack: AckFrame) -> None:
        """Raise Replayed when it echoes no beat of this process."""
        header = ack.header
        sent_at = self._sent.get(header.sequence)
        if header.boot_id != self._boot_id or sent_at is None or header.sent_us != sent_at:
            raise Replayed("echoes no beat of this process")
        self.counts["acknowledged"] += 1
        self._answered_at = self._clock.now()
        if ack.leader:
            self.on_leader(ack.leader, ack.term)
        if ack.epoch and ack.lease_ms:
            self.on_grant(ack.epoch, sent_at, ack.lease_ms)

    def acknowledged_on_stream(
        self, *, sequence: int, sent_us: int, leader: str, term: int, epoch: int, lease_ms: int
    ) -> None:
        """The stream is authenticated by its certificates."""
        header = Header(self._member_id, self._generation, self._boot_id, sequence, sent_us)
        with suppress(Replayed):
            self._acknowledged(AckFrame(header, leader, term, epoch, lease_ms))

    def _key_of(self, member: int, generation: int) -> bytes | None:
        return self._key if (member, generation) == (self._member_id, self._generation) else None
