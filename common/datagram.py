"""The UDP frame: beats, acknowledgements and relays (interfaces.md, "UDP frame").

Pure, but for hashlib and struct. It seals and opens bytes; sockets, clocks, counters and the meaning of
what was heard live with the callers. A datagram that does not open is counted by its `kind` and dropped.

Big-endian, at most 512 bytes, version 1:

    header   40  magic `PRM`, version u8, kind u8 (1 beat, 2 ack, 3 relay), zero u8, key generation u16,
                 member id u64, boot id u64, sequence u64, sent CLOCK_BOOTTIME µs u64
    beat     80  obeyed epoch u64, obeyed revision u64, incarnation u64, system identifier u64 (0: none),
                 flags u32, timeline u32, flushed / replayed / insert LSN u64 each,
                 oldest voter reply age ms u32, write probe age ms u32, ms since WAL was received u32,
                 free MiB u32 (0xFFFFFFFF in these four: unknown)
    ack     21+  term u64, epoch u64 (0: no grant), lease ms u32 (0: no grant),
                 length u8 and name of the leader
    relay     …  another sealed frame, untouched
    tag      16  BLAKE2b-128 of everything before it, under the member's key

    flags: 0 postmaster alive, 1 receiver alive, 2 can write (the probe commit was acknowledged), 3 sealed,
           4 open; bits 8 to 11 the state of PostgreSQL, bits 12 to 15 the state of the probe commit

The ack's header echoes the beat's boot id, sequence and sending time, and is sealed under the same member's
key; the kind lies under the tag, so neither can be passed off as the other. A relay's header is the
relaying member's own; who receives one opens the inner frame by itself (never a relay inside a relay).
`sent` is only echoed and subtracted by the host that wrote it, never compared with another host's clock.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar, Final, assert_never

import msgspec

from common.assignment import Version
from common.errors import FailoverError
from common.facts import PostgresState, WriteState
from common.ids import IncarnationId
from common.lsn import Lsn

MAGIC: Final = b"PRM"
VERSION: Final = 1
DATAGRAM_BYTES_MAX: Final = 512
TAG_BYTES: Final = 16
LEADER_BYTES_MAX: Final = 63

_BEAT, _ACK, _RELAY = 1, 2, 3
_HEADER = struct.Struct(">3sBBBHQQQQ")
_BEAT_BODY = struct.Struct(">QQQQIIQQQIIII")
_ACK_BODY = struct.Struct(">QQIB")
_KIND_AT: Final = 4
_ACK_KIND: Final = bytes([_ACK])
_UNKNOWN: Final = 0xFFFFFFFF

_POSTGRES_CODES: Final = {
    PostgresState.UNKNOWN: 0,
    PostgresState.ABSENT: 1,
    PostgresState.HALF: 2,
    PostgresState.STOPPED: 3,
    PostgresState.STARTING: 4,
    PostgresState.STANDBY: 5,
    PostgresState.PRIMARY: 6,
    PostgresState.DYING: 7,
}
_WRITE_CODES: Final = {
    WriteState.NONE: 0,
    WriteState.ACKNOWLEDGED: 1,
    WriteState.WAITING: 2,
    WriteState.STALLED: 3,
}
_POSTGRES_STATES: Final = {code: state for state, code in _POSTGRES_CODES.items()}
_WRITE_STATES: Final = {code: state for state, code in _WRITE_CODES.items()}


class BadDatagram(FailoverError):
    """Dropped and counted by `kind`; never answered. Its subclasses are all there is."""

    kind: ClassVar[str]


class Truncated(BadDatagram):
    """Too short, too long, or of another length than its kind has."""

    kind = "truncated"


class Foreign(BadDatagram):
    """Not ours: another magic."""

    kind = "foreign"


class WrongVersion(BadDatagram):
    """Ours, of a version or a kind that this program does not know."""

    kind = "wrong_version"


class UnknownMember(BadDatagram):
    """No key is known for this member id and key generation."""

    kind = "unknown_member"


class BadTag(BadDatagram):
    """Forged, damaged, or sealed under another key."""

    kind = "bad_tag"


class SecondAgent(BadDatagram):
    """Of another process that has the member's key, on another host, while the one that is known is heard."""

    kind = "second_agent"


class Replayed(BadDatagram):
    """Seen before, too old for the window, or of an agent's process that was replaced since."""

    kind = "replayed"


class Flags(msgspec.Struct, frozen=True, gc=False):
    """What the u32 of a beat says; the same number travels in beat.proto."""

    postgres: PostgresState = PostgresState.UNKNOWN
    write_state: WriteState = WriteState.NONE
    postmaster_alive: bool = False
    receiver_alive: bool = False
    sealed: bool = False
    open: bool = False

    @property
    def can_write(self) -> bool:
        return self.write_state is WriteState.ACKNOWLEDGED

    def to_int(self) -> int:
        return (
            self.postmaster_alive
            | self.receiver_alive << 1
            | self.can_write << 2
            | self.sealed << 3
            | self.open << 4
            | _POSTGRES_CODES[self.postgres] << 8
            | _WRITE_CODES[self.write_state] << 12
        )

    @staticmethod
    def from_int(flags: int) -> Flags:
        """A state that a newer agent invented reads as unknown; unknown flags are ignored."""
        return _flags(flags)


@lru_cache(maxsize=1024)  # a fleet says the same few with every beat
def _flags(number: int) -> Flags:
    return Flags(
        postgres=_POSTGRES_STATES.get(number >> 8 & 0xF, PostgresState.UNKNOWN),
        write_state=_WRITE_STATES.get(number >> 12 & 0xF, WriteState.NONE),
        postmaster_alive=bool(number & 1),
        receiver_alive=bool(number & 2),
        sealed=bool(number & 8),
        open=bool(number & 16),
    )


class Header(msgspec.Struct, frozen=True, gc=False):
    member_id: int
    generation: int
    """Of the key that sealed it."""
    boot_id: int
    """Drawn at each start of the agent's process."""
    sequence: int
    sent_us: int


class BeatFrame(msgspec.Struct, frozen=True, gc=False):
    header: Header
    obeyed: Version
    incarnation: IncarnationId
    system_identifier: str
    flags: Flags
    timeline: int
    flushed_lsn: Lsn
    replayed_lsn: Lsn
    insert_lsn: Lsn
    voter_reply_age_ms: int | None
    """Of the voter whose last reply is oldest; a primary's only."""
    write_age_ms: int | None
    received_age_ms: int | None
    free_mib: int | None


class AckFrame(msgspec.Struct, frozen=True, gc=False):
    header: Header
    """Boot id, sequence and `sent_us` are those of the beat that is acknowledged."""
    leader: str
    """Name of the control node that leads, as far as the answering one knows; empty: nobody."""
    term: int
    epoch: int
    """The lease is granted for this epoch only; 0: no grant."""
    lease_ms: int


class RelayFrame(msgspec.Struct, frozen=True, gc=False):
    header: Header
    inner: bytes


Frame = BeatFrame | AckFrame | RelayFrame
KeyOf = Callable[[int, int], bytes | None]
"""(member id, key generation) → the member's key, or None for a stranger."""


def member_id(cluster: str, member: str) -> int:
    digest = hashlib.blake2b(f"{cluster}/{member}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def member_key(secret: bytes, cluster: str, member: str, generation: int) -> bytes:
    """What lies with the agent: the fleet's secret itself stays on the control nodes."""
    text = f"beat|{cluster}|{member}|{generation}"
    return hashlib.blake2b(text.encode(), key=secret, digest_size=32).digest()


def seal(key: bytes, frame: Frame) -> bytes:
    match frame:
        case BeatFrame():
            kind, body = _BEAT, _pack_beat(frame)
        case AckFrame():
            kind, body = _ACK, _pack_ack(frame)
        case RelayFrame():
            kind, body = _RELAY, frame.inner
        case unknown:
            assert_never(unknown)
    header = frame.header
    data = (
        _HEADER.pack(
            MAGIC,
            VERSION,
            kind,
            0,
            header.generation,
            header.member_id,
            header.boot_id,
            header.sequence,
            header.sent_us,
        )
        + body
    )
    if len(data) + TAG_BYTES > DATAGRAM_BYTES_MAX:
        raise ValueError(f"a datagram of {len(data) + TAG_BYTES} bytes is longer than {DATAGRAM_BYTES_MAX}")
    return data + _tag(key, data)


def seal_answer(key: bytes, beat: bytes, *, leader: str, term: int, epoch: int, lease_ms: int) -> bytes:
    """The acknowledgement of a beat that was opened: what `seal` makes of an AckFrame with its header.

    Every beat of the fleet is answered, so its header is echoed as it came and not packed again.
    """
    data = (
        beat[:_KIND_AT]
        + _ACK_KIND
        + beat[_KIND_AT + 1 : _HEADER.size]
        + _ack_body(term, epoch, lease_ms, leader)
    )
    return data + _tag(key, data)


def is_sealed_under(key: bytes, data: bytes) -> bool:
    """Whether the tag of a datagram is that of its content under the key."""
    return hmac.compare_digest(_tag(key, data[:-TAG_BYTES]), data[-TAG_BYTES:])


def decoded(beat: bytes) -> BeatFrame:
    """A beat whose seal was checked before."""
    _, _, _, _, generation, member, boot_id, sequence, sent_us = _HEADER.unpack_from(beat)
    return _unpack_beat(
        Header(member, generation, boot_id, sequence, sent_us), beat[_HEADER.size : -TAG_BYTES]
    )


def open_frame(data: bytes, key_of: KeyOf) -> Frame:
    """Raise a BadDatagram. Before its tag was checked nothing is believed but whose key to check it with."""
    if not _HEADER.size + TAG_BYTES <= len(data) <= DATAGRAM_BYTES_MAX:
        raise Truncated(f"{len(data)} bytes")
    magic, version, kind, _, generation, member, boot_id, sequence, sent_us = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise Foreign(f"begins with {magic!r}")
    if version != VERSION or kind not in {_BEAT, _ACK, _RELAY}:
        raise WrongVersion(f"version {version}, kind {kind}")
    key = key_of(member, generation)
    if key is None:
        raise UnknownMember(f"member id {member:016x}, key generation {generation}")
    if not is_sealed_under(key, data):
        raise BadTag(f"member id {member:016x}")
    header = Header(member, generation, boot_id, sequence, sent_us)
    body = data[_HEADER.size : -TAG_BYTES]
    if kind == _BEAT:
        return _unpack_beat(header, body)
    if kind == _ACK:
        return _unpack_ack(header, body)
    return RelayFrame(header, body)


def _tag(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, key=key, digest_size=TAG_BYTES).digest()


def _pack_beat(frame: BeatFrame) -> bytes:
    return _BEAT_BODY.pack(
        frame.obeyed.epoch,
        frame.obeyed.revision,
        int(frame.incarnation or "0", 16),
        int(frame.system_identifier or 0),
        frame.flags.to_int(),
        frame.timeline,
        frame.flushed_lsn,
        frame.replayed_lsn,
        frame.insert_lsn,
        _from_optional(frame.voter_reply_age_ms),
        _from_optional(frame.write_age_ms),
        _from_optional(frame.received_age_ms),
        _from_optional(frame.free_mib),
    )


def _unpack_beat(header: Header, body: bytes) -> BeatFrame:
    if len(body) != _BEAT_BODY.size:
        raise Truncated(f"a beat's body of {len(body)} bytes")
    (
        epoch, revision, incarnation, system_identifier, flags, timeline, flushed, replayed, insert,
        voter_reply_age_ms, write_age_ms, received_age_ms, free_mib,
    ) = _BEAT_BODY.unpack(body)  # fmt: skip
    return BeatFrame(
        header,
        Version(epoch, revision),
        _incarnation(incarnation),
        _system_identifier(system_identifier),
        _flags(flags),
        timeline,
        Lsn(flushed),
        Lsn(replayed),
        Lsn(insert),
        None if voter_reply_age_ms == _UNKNOWN else voter_reply_age_ms,
        None if write_age_ms == _UNKNOWN else write_age_ms,
        None if received_age_ms == _UNKNOWN else received_age_ms,
        None if free_mib == _UNKNOWN else free_mib,
    )


@lru_cache(maxsize=65_536)
def _incarnation(number: int) -> IncarnationId:
    return IncarnationId(f"{number:016x}")


@lru_cache(maxsize=65_536)
def _system_identifier(number: int) -> str:
    return str(number) if number else ""


def _pack_ack(frame: AckFrame) -> bytes:
    return _ack_body(frame.term, frame.epoch, frame.lease_ms, frame.leader)


@lru_cache(maxsize=1024)  # the same few for all members
def _ack_body(term: int, epoch: int, lease_ms: int, leader: str) -> bytes:
    name = leader.encode()
    if len(name) > LEADER_BYTES_MAX:
        raise ValueError(f"the leader's name {leader!r} is longer than {LEADER_BYTES_MAX} bytes")
    return _ACK_BODY.pack(term, epoch, lease_ms, len(name)) + name


def _unpack_ack(header: Header, body: bytes) -> AckFrame:
    if len(body) < _ACK_BODY.size:
        raise Truncated(f"an ack's body of {len(body)} bytes")
    term, epoch, lease_ms, length = _ACK_BODY.unpack_from(body)
    name = body[_ACK_BODY.size :]
    if len(name) != length:
        raise Truncated(f"a leader's name of {len(name)} bytes instead of {length}")
    return AckFrame(header, name.decode(errors="replace"), term, epoch, lease_ms)


def _from_optional(value: int | None) -> int:
    """What does not fit is clamped: an age that long says the same."""
    return _UNKNOWN if value is None else min(max(value, 0), _UNKNOWN - 1)
