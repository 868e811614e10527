"""Beats as an agent sends them, and as the core hears them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from common.assignment import Version
from common.datagram import BeatFrame, Flags, Header, member_id, member_key, seal
from common.facts import PostgresState, WriteState
from common.ids import IncarnationId, MemberName
from common.lsn import Lsn
from orchestrator.core.events import Beat
from orchestrator.ingress.heard import beat_of
from tests.orchestrator.control_node import SECRET

INCARNATION = IncarnationId("0123456789abcdef")


def frame(
    member: str = "a", *, sequence: int = 1, epoch: int = 1, boot_id: int = 77, cluster: str = "shop"
) -> BeatFrame:
    return BeatFrame(
        Header(member_id(cluster, member), 1, boot_id, sequence, 5_000),
        Version(epoch, 10),
        INCARNATION,
        "7000",
        Flags(PostgresState.PRIMARY, WriteState.ACKNOWLEDGED, postmaster_alive=True),
        1,
        Lsn(100),
        Lsn(100),
        Lsn(100),
        None,
        20,
        None,
        1000,
    )


def sealed_under(
    beat_frame: BeatFrame, member: str = "a", *, cluster: str = "shop", secret: bytes = SECRET
) -> bytes:
    return seal(member_key(secret, cluster, member, beat_frame.header.generation), beat_frame)


def beat(member: str = "a", **changes: Any) -> Beat:
    return replace(beat_of(frame(member), MemberName(member)), **changes)
