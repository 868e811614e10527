"""What is seen of a beat without decoding it is what it says."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from common.assignment import Version
from common.beat_bytes import (
    BEAT_BYTES,
    free_mib_of,
    numbers_of,
    obeyed_epoch_of,
    sender,
    sender_of,
    words_of,
)
from common.datagram import AckFrame, BeatFrame, Flags, RelayFrame, decoded, is_sealed_under, member_id, seal
from common.facts import PostgresState, WriteState
from common.ids import IncarnationId
from common.lsn import Lsn
from tests.orchestrator.beats import frame

KEY = bytes(range(32))
ONE = frame(sequence=9, epoch=7, boot_id=5)


def test_sender_numbers_and_epoch_are_those_of_the_frame() -> None:
    data = seal(KEY, ONE)
    assert len(data) == BEAT_BYTES
    assert sender_of(data) == sender(member_id("shop", "a"), 1)
    assert (numbers_of(data), obeyed_epoch_of(data)) == ((5, 9), 7)
    assert free_mib_of(data) == ONE.free_mib
    assert free_mib_of(seal(KEY, replace(ONE, free_mib=None))) > 1_000_000
    assert decoded(data) == ONE
    assert is_sealed_under(KEY, data)
    assert not is_sealed_under(KEY, data[:60] + b"\1" + data[61:])


@pytest.mark.parametrize(
    "data",
    [
        seal(KEY, AckFrame(ONE.header, "control1", 1, 1, 5_000)),
        seal(KEY, RelayFrame(ONE.header, seal(KEY, ONE))),
        seal(KEY, ONE)[:-1],
        b"x" * BEAT_BYTES,
        b"",
    ],
)
def test_what_is_no_beat_has_no_sender(data: bytes) -> None:
    assert sender_of(data) is None


@pytest.mark.parametrize(
    "news",
    [
        {"obeyed": Version(7, 11)},
        {"obeyed": Version(8, 10)},
        {"incarnation": IncarnationId("f" * 16)},
        {"system_identifier": "7001"},
        {"flags": Flags(PostgresState.STOPPED, WriteState.ACKNOWLEDGED, postmaster_alive=True)},
        {"flags": Flags(PostgresState.PRIMARY, WriteState.WAITING, postmaster_alive=True)},
        {"flags": Flags(PostgresState.PRIMARY, WriteState.ACKNOWLEDGED)},
        {"timeline": 2},
    ],
)
def test_news_are_other_words(news: dict[str, Any]) -> None:
    assert words_of(seal(KEY, replace(ONE, **news))) != words_of(seal(KEY, ONE))


@pytest.mark.parametrize(
    "moved", [{"flushed_lsn": Lsn(101)}, {"insert_lsn": Lsn(101)}, {"write_age_ms": 30}, {"free_mib": 1}]
)
def test_numbers_that_always_move_are_no_news(moved: dict[str, Any]) -> None:
    changed: BeatFrame = replace(ONE, header=replace(ONE.header, sequence=10, sent_us=6_000), **moved)
    assert words_of(seal(KEY, changed)) == words_of(seal(KEY, ONE))
