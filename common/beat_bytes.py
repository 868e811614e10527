"""A beat as it lies in its datagram: what can be seen of it without decoding the rest.

Pure, and fast: thousands of members beat at a control node, and most beats say what the one before said. The places are
those of `common.datagram`.
"""

from __future__ import annotations

import struct
from typing import Final

from common.datagram import MAGIC, VERSION

BEAT_BYTES: Final = 136
_HEAD: Final = MAGIC + bytes([VERSION, 1])
_SENDER, _SENDER_AT = struct.Struct(">HQ"), 6
_NUMBERS, _NUMBERS_AT = struct.Struct(">QQ"), 16
_BODY_AT: Final = 40
_WORDS_END: Final = 80
_FREE_MIB_AT: Final = 116


def sender_of(data: bytes) -> bytes | None:
    """Key generation and member id, as they lie in a datagram that may be a beat; None: it is none."""
    if len(data) != BEAT_BYTES or not data.startswith(_HEAD):
        return None
    return data[_SENDER_AT : _SENDER_AT + _SENDER.size]


def sender(member: int, generation: int) -> bytes:
    """What `sender_of` finds in this member's beats."""
    return _SENDER.pack(generation, member)


def numbers_of(beat: bytes) -> tuple[int, int]:
    """Boot id and sequence."""
    boot_id, sequence = _NUMBERS.unpack_from(beat, _NUMBERS_AT)
    return boot_id, sequence


def obeyed_epoch_of(beat: bytes) -> int:
    return int.from_bytes(beat[_BODY_AT : _BODY_AT + 8], "big")


def words_of(beat: bytes) -> bytes:
    """What it says besides numbers that always move: all up to the positions in the log. Equal words, equal news."""
    return beat[_BODY_AT:_WORDS_END]


def free_mib_of(beat: bytes) -> int:
    """A very large number where it does not say."""
    return int.from_bytes(beat[_FREE_MIB_AT : _FREE_MIB_AT + 4], "big")
