"""Who is in a fleet of thousands: names, addresses, incarnations, specifications and records.

Pure. Every cluster has three members on addresses of their own on loopback; `a` is the primary of epoch 1 and
the two others vote. The first clusters are played by whole agents (`players.py`), of the others only the beats
(`flock.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from common.facts import PostgresState
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import Lsn
from common.rule import Voter, quorum
from orchestrator.core.members import from_spec
from orchestrator.core.record import Phase, Record
from orchestrator.core.spec import ClusterSpec, MemberSpec

ZONE = "db.example."
PROFILE = "patient"
"""Primaries beat at 4 Hz, standbys at 1 Hz."""
MEMBERS = tuple(MemberName(name) for name in ("a", "b", "c"))
PRIMARY = MEMBERS[0]
POSTGRES_PORT = 7532
SYSTEM_IDENTIFIER = "7300000000000000001"
BEGIN = Lsn(0x3000000)
_FIRST_ADDRESS = 0x7FA00100  # 127.160.1.0: no lab's net


@dataclass(frozen=True, slots=True)
class Member:
    cluster: ClusterName
    name: MemberName
    place: int
    """Counted through the whole fleet."""

    @property
    def address(self) -> str:
        number = _FIRST_ADDRESS + self.place
        return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))

    @property
    def incarnation(self) -> IncarnationId:
        return IncarnationId(f"{0x5CA1E00000000000 + self.place:016x}")

    @property
    def is_first_primary(self) -> bool:
        return self.name == PRIMARY

    @property
    def postgres(self) -> PostgresState:
        return PostgresState.PRIMARY if self.is_first_primary else PostgresState.STANDBY


@dataclass(frozen=True, slots=True)
class Group:
    """One cluster."""

    name: ClusterName
    members: tuple[Member, ...]

    @property
    def spec(self) -> ClusterSpec:
        return ClusterSpec(
            self.name,
            ZONE,
            tuple(
                MemberSpec(member.name, f"{self.name}-{member.name}", (member.address,), POSTGRES_PORT)
                for member in self.members
            ),
            profile=PROFILE,
        )

    def record(self, etcd_cluster_id: int) -> Record:
        """STABLE in epoch 1, as a birth leaves it."""
        members = tuple(
            replace(from_spec(wanted), number=1, incarnation=member.incarnation)
            for wanted, member in zip(self.spec.members, self.members, strict=True)
        )
        return Record(
            self.name,
            1,
            Phase.STABLE,
            members,
            primary=PRIMARY,
            timeline=1,
            timeline_max=1,
            rules=(quorum((Voter(name, 1) for name in MEMBERS if name != PRIMARY), 1),),
            system_identifier=SYSTEM_IDENTIFIER,
            etcd_cluster_id=etcd_cluster_id,
        )


def crowd(member_count: int) -> tuple[Group, ...]:
    """As many whole clusters as hold at most so many members; at least one."""
    groups = []
    for index in range(max(1, member_count // len(MEMBERS))):
        name = ClusterName(f"c{index:05d}")
        first = index * len(MEMBERS)
        groups.append(Group(name, tuple(Member(name, m, first + i) for i, m in enumerate(MEMBERS))))
    return tuple(groups)
