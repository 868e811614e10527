"""Who was heard when, and by which key each member is known: the newest beat of every member.

Kept by every control node for as long as the process lives; other control nodes ask for it (observer.proto).
It also turns what came over UDP or gRPC into the one event that the core knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from common.clock import Clock
from common.datagram import BeatFrame, Flags, member_id, member_key
from common.ids import ClusterName, MemberName
from common.replay_window import ReplayWindow
from common.timebase import Instant, elapsed_ms
from orchestrator.core.events import Beat

GENERATIONS_KNOWN = (1,)
"""Of the members' keys. Rotation will make it two for a while."""


@dataclass(slots=True)
class Known:
    """A member of some specification."""

    cluster: ClusterName
    member: MemberName
    id: int
    window: ReplayWindow = field(default_factory=ReplayWindow)
    heard_at: Instant | None = None
    boot_id: int = 0
    sequence: int = 0
    flags: Flags = Flags()

    def heard(self, at: Instant, *, boot_id: int, sequence: int, flags: Flags) -> None:
        self.heard_at, self.boot_id, self.sequence, self.flags = at, boot_id, sequence, flags


class Heard:
    def __init__(self, clock: Clock, secret: bytes) -> None:
        self._clock, self._secret = clock, secret
        self._listening_since = clock.now()
        self._by_id: dict[int, Known] = {}
        self._by_name: dict[tuple[ClusterName, MemberName], Known] = {}
        self._keys: dict[tuple[int, int], bytes] = {}

    @property
    def listening_ms(self) -> int:
        return elapsed_ms(since=self._listening_since, now=self._clock.now())

    def set_members(self, members: Iterable[tuple[ClusterName, MemberName]]) -> None:
        """All members of all specifications. One that stays keeps what was heard of it."""
        wanted = set(members)
        for name in set(self._by_name) - wanted:
            gone = self._by_name.pop(name)
            self._by_id.pop(gone.id, None)
            for generation in GENERATIONS_KNOWN:
                self._keys.pop((gone.id, generation), None)
        for cluster, member in wanted - set(self._by_name):
            known = Known(cluster, member, member_id(cluster, member))
            self._by_name[cluster, member] = self._by_id[known.id] = known
            for generation in GENERATIONS_KNOWN:
                key = member_key(self._secret, cluster, member, generation)
                self._keys[known.id, generation] = key

    def key_of(self, id_of_member: int, generation: int) -> bytes | None:
        return self._keys.get((id_of_member, generation))

    def by_id(self, id_of_member: int) -> Known:
        """Of one whose key was found a moment ago."""
        return self._by_id[id_of_member]

    def find(self, cluster: str, member: str) -> Known | None:
        return self._by_name.get((ClusterName(cluster), MemberName(member)))


def beat_of(frame: BeatFrame, member: MemberName) -> Beat:
    flags = frame.flags
    return Beat(
        member=member,
        boot_id=frame.header.boot_id,
        sequence=frame.header.sequence,
        obeyed=frame.obeyed,
        incarnation=frame.incarnation,
        system_identifier=frame.system_identifier,
        postgres=flags.postgres,
        postmaster_alive=flags.postmaster_alive,
        receiver_alive=flags.receiver_alive,
        open=flags.open,
        sealed=flags.sealed,
        timeline=frame.timeline,
        flushed_lsn=frame.flushed_lsn,
        replayed_lsn=frame.replayed_lsn,
        insert_lsn=frame.insert_lsn,
        write_state=flags.write_state,
        write_age_ms=frame.write_age_ms,
        received_age_ms=frame.received_age_ms,
        free_mib=frame.free_mib,
    )
