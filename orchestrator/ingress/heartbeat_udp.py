"""Beats over UDP: read in a drain loop, authenticated, checked for replays, put into the inbox, acknowledged.

`add_reader` and `recvfrom` until the socket is empty: a `DatagramProtocol` costs four times as much for each
datagram. What does not open is counted by kind and dropped; it is never answered.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from common.clock import Clock
from common.datagram import (
    DATAGRAM_BYTES_MAX,
    AckFrame,
    BadDatagram,
    BeatFrame,
    Foreign,
    RelayFrame,
    open_frame,
    seal_answer,
)
from common.ids import ClusterName, MemberName
from orchestrator.core.events import BeatHeard
from orchestrator.ingress.heard import Heard, Known, beat_of

log = structlog.get_logger()

DRAINED_AT_ONCE: Final = 64
"""Then everything else gets its turn; what is left wakes us again."""
RECEIVE_BUFFER_BYTES: Final = 32 * 1024 * 1024
"""Two seconds of the beats of 10,000 members (the kernel counts some 770 bytes for each); it cuts this to what the host
allows."""


class Acknowledgement(msgspec.Struct, frozen=True, gc=False):
    leader: str
    term: int
    epoch: int = 0
    lease_ms: int = 0


Acknowledge = Callable[[ClusterName, MemberName, int], Acknowledgement]
"""(cluster, member, epoch that the beat obeyed) → what may be answered now, after the beat arrived."""
PutBeat = Callable[[ClusterName, BeatHeard], object]
Counted = Callable[[str], None]


class HeartbeatUdp:
    def __init__(
        self, clock: Clock, heard: Heard, put: PutBeat, acknowledge: Acknowledge, counted: Counted
    ) -> None:
        """`counted` is told `accepted`, `relayed`, or the kind of what was dropped."""
        self._clock, self._heard, self._put = clock, heard, put
        self._acknowledge, self._counted = acknowledge, counted
        self._socket: socket.socket | None = None

    def open(self, address: str, port: int) -> int:
        """Bind and begin to listen in the running loop; return the port. Raise OSError."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_DGRAM)
        listening.setblocking(False)
        for option in (getattr(socket, "SO_RCVBUFFORCE", 33), socket.SO_RCVBUF):
            try:
                listening.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
                break
            except PermissionError:
                continue  # only root may go beyond net.core.rmem_max
        try:
            listening.bind((address, port))
        except OSError:
            listening.close()
            raise
        self._socket = listening
        asyncio.get_running_loop().add_reader(listening, self._drain)
        bound: int = listening.getsockname()[1]
        return bound

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _drain(self) -> None:
        assert self._socket is not None
        for _ in range(DRAINED_AT_ONCE):
            try:
                # One byte more than allowed, so that a longer one is seen as such and not cut.
                data, source = self._socket.recvfrom(DATAGRAM_BYTES_MAX + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # an ICMP answer to an earlier acknowledgement
                log.debug("beats.receive_failed", error=str(error))
                continue
            try:
                self._receive(data, source)
            except BadDatagram as error:
                self._counted(error.kind)

    def _receive(self, data: bytes, source: Any) -> None:
        frame = open_frame(data, self._heard.key_of)
        match frame:
            case BeatFrame():
                known = self._heard.by_id(frame.header.member_id)
                known.window.accept(frame.header)
                self._hear(known, frame)
                self._counted("accepted")
                self._answer(known, frame, data, source)
            case RelayFrame(inner=inner):
                relayed = open_frame(inner, self._heard.key_of)
                if not isinstance(relayed, BeatFrame):
                    raise Foreign("a relay may hold a beat only")
                known = self._heard.by_id(relayed.header.member_id)
                known.window.accept(relayed.header)
                self._hear(known, relayed)
                self._counted("relayed")  # serves detection; there are no relayed acknowledgements
            case AckFrame():
                raise Foreign("an acknowledgement, here")

    def _hear(self, known: Known, frame: BeatFrame) -> None:
        at = self._clock.now()
        header = frame.header
        known.heard(at, boot_id=header.boot_id, sequence=header.sequence, flags=frame.flags)
        self._put(known.cluster, BeatHeard(at, beat_of(frame, known.member)))

    def _answer(self, known: Known, frame: BeatFrame, data: bytes, source: Any) -> None:
        key = self._heard.key_of(frame.header.member_id, frame.header.generation)
        assert key is not None
        assert self._socket is not None
        words = self._acknowledge(known.cluster, known.member, frame.obeyed.epoch)
        answer = seal_answer(
            key, data, leader=words.leader, term=words.term, epoch=words.epoch, lease_ms=words.lease_ms
        )
        try:
            self._socket.sendto(answer, source)
        except OSError as error:  # a full buffer, no route: the next beat gets an answer
            log.debug("beats.answer_failed", member=known.member, error=str(error))
