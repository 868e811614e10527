"""Names of things, and which names are allowed.

Pure. Cluster names are DNS labels (RFC 1123); member names fit into a slot's name.
An incarnation is a random id that an agent draws (16 hexadecimal digits); the record
numbers it, and the number is what PostgreSQL sees: `b.2@7` is member b, incarnation 2,
epoch 7; its slot is `b_2_e7` (protocol.md, R5).
"""

from __future__ import annotations

import re
from typing import NewType

ClusterName = NewType("ClusterName", str)
MemberName = NewType("MemberName", str)
IncarnationId = NewType("IncarnationId", str)

_CLUSTER = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_MEMBER = re.compile(r"^[a-z][a-z0-9_]{0,30}$")
_INCARNATION = re.compile(r"^[0-9a-f]{16}$")
_APPLICATION = re.compile(r"^([a-z][a-z0-9_]{0,30})\.(\d+)@(\d+)$")
_SLOT = re.compile(r"^([a-z][a-z0-9_]{0,30})_(\d+)_e(\d+)$")

FENCE_NAME = "primacy_fence"
"""Reserved: no standby may ever connect under it."""


def cluster_name(text: str) -> ClusterName:
    """Raise ValueError, naming the text and the remedy."""
    if not _CLUSTER.match(text):
        raise ValueError(f"cluster name {text!r}: use a DNS label (a-z, 0-9, inner '-', at most 63)")
    return ClusterName(text)


def member_name(text: str) -> MemberName:
    """Raise ValueError, naming the text and the remedy."""
    if not _MEMBER.match(text) or text == FENCE_NAME:
        raise ValueError(f"member name {text!r}: use a letter, then a-z, 0-9 or _ (at most 31 in all)")
    return MemberName(text)


def incarnation_id(text: str) -> IncarnationId:
    """Raise ValueError, naming the text."""
    if not _INCARNATION.match(text):
        raise ValueError(f"incarnation {text!r}: expected 16 hexadecimal digits")
    return IncarnationId(text)


def application_name(member: MemberName, number: int, epoch: int) -> str:
    return f"{member}.{number}@{epoch}"


def slot_name(member: MemberName, number: int, epoch: int) -> str:
    return f"{member}_{number}_e{epoch}"


def parse_application_name(text: str) -> tuple[MemberName, int, int] | None:
    """(member, incarnation number, epoch), or None for a stranger."""
    found = _APPLICATION.match(text)
    return None if found is None else (MemberName(found[1]), int(found[2]), int(found[3]))


def parse_slot_name(text: str) -> tuple[MemberName, int, int] | None:
    """(member, incarnation number, epoch), or None for a slot that is not ours."""
    found = _SLOT.match(text)
    return None if found is None else (MemberName(found[1]), int(found[2]), int(found[3]))
