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

from common.addresses import plain_address
from common.beat_bytes import numbers_of, obeyed_epoch_of, sender_of, words_of
from common.clock import Clock
from common.datagram import (
    DATAGRAM_BYTES_MAX,
    BadDatagram,
    BadTag,
    BeatFrame,
    Foreign,
    RelayFrame,
    SecondAgent,
    decoded,
    is_sealed_under,
    open_frame,
    seal_answer,
)
from common.ids import ClusterName, MemberName
from common.timebase import Instant, elapsed_ms
from orchestrator.core.events import BeatHeard, BeatRelayed
from orchestrator.ingress.heard import Heard, Known, beat_of

log = structlog.get_logger()

TOLD_AGAIN_MS: Final = 60_000
RELAYS_NEEDLESS_MS: Final = 250
"""Less than any silence that is suspicious."""
DRAINED_AT_ONCE: Final = 256
"""Then everything else gets its turn; what is left wakes us again. It takes as long as the turns of clusters may
(`loop.YIELDS_EVERY_US`): with a good deal less, a loop that is behind would not catch up with 20,000 beats a second."""
RECEIVE_BUFFER_BYTES: Final = 32 * 1024 * 1024
"""Two seconds of the beats of 10,000 members (the kernel counts some 770 bytes for each); it cuts this to what the host
allows."""


class Acknowledgement(msgspec.Struct, frozen=True, gc=False):
    leader: str
    term: int
    epoch: int = 0
    lease_ms: int = 0


Acknowledge = Callable[[ClusterName, MemberName, int], Acknowledgement]
"""(cluster, member, epoch that the beat obeyed) → what may be answered to a beat that arrived before this was made."""
PutBeat = Callable[[ClusterName, BeatHeard | BeatRelayed], object]
Counted = Callable[[str], None]


class HeartbeatUdp:
    def __init__(
        self,
        clock: Clock,
        heard: Heard,
        put: PutBeat,
        acknowledging: Callable[[], Acknowledge],
        counted: Counted,
    ) -> None:
        """`put` gets what says something new; the rest waits in `heard`. `acknowledging` is asked once for all that
        had arrived before. `counted` is told `accepted`, `relayed`, or the kind of what was dropped."""
        self._clock, self._heard, self._put = clock, heard, put
        self._acknowledging, self._counted = acknowledging, counted
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
        arrived: list[tuple[bytes, Any]] = []
        for _ in range(DRAINED_AT_ONCE):
            try:
                # One byte more than allowed, so that a longer one is seen as such and not cut.
                arrived.append(self._socket.recvfrom(DATAGRAM_BYTES_MAX + 1))
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:  # an ICMP answer to an earlier acknowledgement
                log.debug("beats.receive_failed", error=str(error))
        # All of them have arrived by now: what may be granted at this moment may be granted to each.
        at, acknowledge = self._clock.now(), self._acknowledging()
        for data, source in arrived:
            try:
                self._receive(data, source, at, acknowledge)
            except BadDatagram as error:
                self._counted(error.kind)

    def _receive(self, data: bytes, source: Any, at: Instant, acknowledge: Acknowledge) -> None:
        sent_by = sender_of(data)
        found = None if sent_by is None else self._heard.sender(sent_by)
        if found is None:
            self._receive_other(data, at)
            return
        known, key = found
        if not is_sealed_under(key, data):
            raise BadTag(f"{known.member} of {known.cluster}")
        boot_id, sequence = numbers_of(data)
        address = plain_address(str(source[0]))
        if known.is_spoken_for(at, boot_id, address):
            self._tell_of_another(known, address, at)
            raise SecondAgent(f"{known.member} of {known.cluster} from {address}")
        known.window.accept_numbers(boot_id, sequence)
        known.address = address
        words = words_of(data)
        if known.says_the_same(boot_id, words) or known.is_overtaken(boot_id, sequence):
            known.heard_again(at, sequence, data)
        else:
            self._hear(known, decoded(data), at, words)
        self._counted("accepted")
        self._answer(known, key, data, source, acknowledge)

    def _tell_of_another(self, known: Known, address: str, at: Instant) -> None:
        told_at = known.another_told_at
        if told_at is None or elapsed_ms(since=told_at, now=at) > TOLD_AGAIN_MS:
            known.another_told_at = at
            log.error(
                "agent.second",
                cluster=known.cluster,
                member=known.member,
                address=address,
                why=f"{known.address} is heard as this member; two agents must not have one name",
            )

    def _receive_other(self, data: bytes, at: Instant) -> None:
        """A relay, or what will not open."""
        frame = open_frame(data, self._heard.key_of)
        if not isinstance(frame, RelayFrame):
            raise Foreign("an acknowledgement, here")
        sent_by = sender_of(frame.inner)
        speaks = None if sent_by is None else self._heard.sender(sent_by)
        if speaks is not None and speaks[0].is_heard(at, RELAYS_NEEDLESS_MS):
            # Not even opened: where answers get lost all primaries ask at once.
            self._counted("relay_needless")
            return
        relayed = open_frame(frame.inner, self._heard.key_of)
        if not isinstance(relayed, BeatFrame):
            raise Foreign("a relay may hold a beat only")
        by, known = self._heard.by_id(frame.header.member_id), self._heard.by_id(relayed.header.member_id)
        if by.cluster != known.cluster or by is known:
            raise Foreign("a relay of who is no peer")
        known.accept_relayed(relayed.header.boot_id, relayed.header.sequence)
        self._put(known.cluster, BeatRelayed(at, beat_of(relayed, known.member), by.member))
        self._counted("relayed")  # serves detection; there are no relayed acknowledgements

    def _hear(self, known: Known, frame: BeatFrame, at: Instant, words: bytes) -> None:
        header = frame.header
        known.heard(at, boot_id=header.boot_id, sequence=header.sequence, flags=frame.flags, words=words)
        self._put(known.cluster, BeatHeard(at, beat_of(frame, known.member), known.replaced() + 1))

    def _answer(self, known: Known, key: bytes, beat: bytes, source: Any, acknowledge: Acknowledge) -> None:
        assert self._socket is not None
        words = acknowledge(known.cluster, known.member, obeyed_epoch_of(beat))
        answer = seal_answer(
            key, beat, leader=words.leader, term=words.term, epoch=words.epoch, lease_ms=words.lease_ms
        )
        try:
            self._socket.sendto(answer, source)
        except OSError as error:  # a full buffer, no route: the next beat gets an answer
            log.debug("beats.answer_failed", member=known.member, error=str(error))
