"""The UDP frame: what was sealed opens to the same, and nothing else opens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.assignment import Version
from common.datagram import (
    DATAGRAM_BYTES_MAX,
    AckFrame,
    BadDatagram,
    BadTag,
    BeatFrame,
    Flags,
    Foreign,
    Frame,
    Header,
    RelayFrame,
    Replayed,
    Truncated,
    UnknownMember,
    WrongVersion,
    member_id,
    member_key,
    open_frame,
    seal,
)
from common.facts import PostgresState, WriteState
from common.ids import IncarnationId
from common.lsn import Lsn
from common.replay_window import LEFT_BOOTS_KEPT, ReplayWindow

SECRET = b"s" * 32
KEY = member_key(SECRET, "shop", "a", 1)
ME = member_id("shop", "a")


def key_of(member: int, generation: int) -> bytes | None:
    return KEY if (member, generation) == (ME, 1) else None


U64 = st.integers(0, 2**64 - 1)
AGES = st.none() | st.integers(0, 2**32 - 2)
HEADERS = st.builds(Header, st.just(ME), st.just(1), U64, U64, U64)
FLAGS = st.builds(
    Flags,
    st.sampled_from(PostgresState),
    st.sampled_from(WriteState),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
BEATS = st.builds(
    BeatFrame,
    HEADERS,
    st.builds(Version, U64, U64),
    U64.map(lambda n: IncarnationId(f"{n:016x}")),
    U64.map(lambda n: str(n) if n else ""),
    FLAGS,
    st.integers(0, 2**32 - 1),
    U64.map(Lsn),
    U64.map(Lsn),
    U64.map(Lsn),
    AGES,
    AGES,
    AGES,
    AGES,
)
ACKS = st.builds(AckFrame, HEADERS, st.text("abcö-9", max_size=30), U64, U64, st.integers(0, 2**32 - 1))
RELAYS = st.builds(RelayFrame, HEADERS, st.binary(max_size=200))
FRAMES = BEATS | ACKS | RELAYS
HEADER = Header(ME, 1, boot_id=7, sequence=1, sent_us=5)
ACK = AckFrame(HEADER, "control1", 12, 7, 5000)


@given(FRAMES)
def test_what_was_sealed_opens_to_the_same(frame: Frame) -> None:
    data = seal(KEY, frame)
    assert len(data) <= DATAGRAM_BYTES_MAX
    assert open_frame(data, key_of) == frame


@pytest.mark.covers("T69")
@given(FRAMES, st.data())
def test_a_datagram_with_one_changed_bit_is_dropped(frame: Frame, data: st.DataObject) -> None:
    sealed = bytearray(seal(KEY, frame))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadDatagram):
        open_frame(bytes(sealed), key_of)


@given(FRAMES, st.data())
def test_a_truncated_datagram_is_dropped(frame: Frame, data: st.DataObject) -> None:
    sealed = seal(KEY, frame)
    with pytest.raises(BadDatagram):
        open_frame(sealed[: data.draw(st.integers(0, len(sealed) - 1))], key_of)


@given(st.binary(max_size=600))
def test_noise_never_opens_and_never_raises_anything_else(noise: bytes) -> None:
    with pytest.raises(BadDatagram):
        open_frame(noise, key_of)


def test_each_kind_of_bad_datagram_has_its_name() -> None:
    sealed = seal(KEY, ACK)
    with pytest.raises(Truncated):
        open_frame(b"PRM", key_of)
    with pytest.raises(Truncated):
        open_frame(sealed + bytes(DATAGRAM_BYTES_MAX), key_of)
    with pytest.raises(Foreign):
        open_frame(b"XYZ" + sealed[3:], key_of)
    with pytest.raises(WrongVersion):
        open_frame(sealed[:3] + b"\x02" + sealed[4:], key_of)
    with pytest.raises(UnknownMember):
        open_frame(sealed, lambda member, generation: None)
    with pytest.raises(BadTag):
        open_frame(sealed, lambda member, generation: member_key(SECRET, "shop", "a", 2))


def test_keys_differ_by_cluster_member_and_generation() -> None:
    keys = {member_key(SECRET, c, m, g) for c in ("x", "y") for m in ("a", "b") for g in (1, 2)}
    assert len(keys) == 8


def test_a_relayed_beat_opens_only_for_who_has_the_key_of_its_sender() -> None:
    inner = seal(KEY, ACK)
    other = member_key(SECRET, "shop", "b", 1)
    relay = RelayFrame(Header(member_id("shop", "b"), 1, 1, 1, 1), inner)
    opened = open_frame(seal(other, relay), lambda member, generation: other)
    assert isinstance(opened, RelayFrame)
    assert open_frame(opened.inner, key_of) == ACK


def heard(window: ReplayWindow, boot_id: int, sequence: int) -> bool:
    try:
        window.accept(Header(ME, 1, boot_id, sequence, 0))
    except Replayed:
        return False
    return True


@pytest.mark.covers("T69")
@given(st.lists(st.integers(0, 200), max_size=100))
def test_the_replay_window_agrees_with_its_dumb_twin(sequences: list[int]) -> None:
    window, seen = ReplayWindow(), set[int]()
    for sequence in sequences:
        new = sequence not in seen and (not seen or sequence > max(seen) - 64)
        assert heard(window, 1, sequence) is new
        if new:
            seen.add(sequence)


def test_a_restarted_agent_is_heard_at_once_and_its_old_beats_never_again() -> None:
    window = ReplayWindow()
    assert heard(window, boot_id=1, sequence=900)
    assert heard(window, boot_id=2, sequence=1)
    assert not heard(window, boot_id=1, sequence=901)
    assert heard(window, boot_id=2, sequence=2)
    for boot_id in range(3, 3 + LEFT_BOOTS_KEPT - 1):
        assert heard(window, boot_id, 1)
    assert not heard(window, boot_id=2, sequence=3)
