"""Who was heard when, and by which key each member is known: the newest beat of every member.

Kept by every control node for as long as the process lives; other control nodes ask for it (observer.proto).
It also turns what came over UDP or gRPC into the one event that the core knows. Of a large fleet most beats say the same
as the one before and are followed by another one before their cluster has its turn: those wait here as they came, and
are decoded when the turn asks for them (`quiet_of`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from common.addresses import plain_address
from common.beat_bytes import free_mib_of, sender
from common.clock import Clock
from common.datagram import BeatFrame, Flags, Replayed, decoded, member_id, member_key
from common.ids import ClusterName, MemberName
from common.replay_window import ReplayWindow
from common.timebase import Instant, elapsed_ms
from orchestrator.core.diagnose import FULL_MIB
from orchestrator.core.events import Beat, BeatHeard

SPOKEN_FOR_MS = 3_000
"""Whoever was heard so lately speaks for the member, and nobody on another host does. Longer than any beat's period; a
member that moved to another address is heard that much later."""
GENERATIONS_KNOWN = (1,)
"""Of the members' keys. Rotation will make it two for a while."""


@dataclass(slots=True)
class Known:
    """A member of some specification."""

    cluster: ClusterName
    member: MemberName
    id: int
    window: ReplayWindow = field(default_factory=ReplayWindow)
    addresses: frozenset[str] = frozenset()
    """Where the specification says that it is."""
    relayed: ReplayWindow | None = None
    """Of beats that peers passed on, once there were any. One that came by itself later is answered all the same."""
    heard_at: Instant | None = None
    boot_id: int = 0
    address: str = ""
    """Where its newest datagram came from; empty while none did."""
    another_told_at: Instant | None = None
    """When it was told last that another agent on another host has its name."""
    sequence: int = 0
    flags: Flags = Flags()
    words: bytes = b""
    """Of its newest beat, where that came over UDP (`beat_bytes.words_of`)."""
    quiet: bytes = b""
    """The newest beat that said the same as the one before and waits here, when it came, and for how many it stands."""
    quiet_at: Instant = Instant(0)
    quiet_count: int = 0

    def heard(self, at: Instant, *, boot_id: int, sequence: int, flags: Flags, words: bytes = b"") -> None:
        """A beat that was decoded. It goes to the engine by itself."""
        self.heard_at, self.boot_id, self.sequence, self.flags = at, boot_id, sequence, flags
        self.words = words

    def is_spoken_for(self, at: Instant, boot_id: int, address: str) -> bool:
        """Another process on another host is heard as this member. A restarted agent is a new process on the same one, and
        whoever speaks from where the specification says is never second: recorded beats, sent from elsewhere to a control
        node that was started again, keep nobody out."""
        if boot_id == self.boot_id or address == self.address or address in self.addresses:
            return False
        return self.is_heard(at, SPOKEN_FOR_MS)

    def is_heard(self, at: Instant, within_ms: int) -> bool:
        return self.heard_at is not None and elapsed_ms(since=self.heard_at, now=at) < within_ms

    def accept_relayed(self, boot_id: int, sequence: int) -> None:
        """Raise Replayed: it was seen, or is of another process than the one that was heard last."""
        if self.boot_id and boot_id != self.boot_id:
            raise Replayed("of another process than the one that was heard")
        if self.relayed is None:
            self.relayed = ReplayWindow()
        self.relayed.accept_numbers(boot_id, sequence)

    def says_the_same(self, boot_id: int, words: bytes) -> bool:
        return self.words == words and self.boot_id == boot_id

    def heard_again(self, at: Instant, sequence: int, beat: bytes) -> None:
        """One that says the same. The one that was sent last stays: datagrams come out of order."""
        self.heard_at = at
        if sequence > self.sequence or not self.quiet_count:
            self.sequence, self.quiet, self.quiet_at = sequence, beat, at
        self.quiet_count += 1

    def is_overtaken(self, boot_id: int, sequence: int) -> bool:
        """It was sent before what waits here, and comes after it."""
        return self.quiet_count > 0 and self.boot_id == boot_id and sequence < self.sequence

    def replaced(self) -> int:
        """What waits here does so no longer; for how many beats it stood."""
        count, self.quiet, self.quiet_count = self.quiet_count, b"", 0
        return count


class Heard:
    def __init__(self, clock: Clock, secret: bytes) -> None:
        self._clock, self._secret = clock, secret
        self._listening_since = clock.now()
        self._by_id: dict[int, Known] = {}
        self._by_name: dict[tuple[ClusterName, MemberName], Known] = {}
        self._by_cluster: dict[ClusterName, tuple[Known, ...]] = {}
        self._keys: dict[tuple[int, int], bytes] = {}
        self._senders: dict[bytes, tuple[Known, bytes]] = {}

    @property
    def listening_ms(self) -> int:
        return elapsed_ms(since=self._listening_since, now=self._clock.now())

    def set_members(self, members: Iterable[tuple[ClusterName, MemberName, Sequence[str]]]) -> None:
        """All members of all specifications, with their addresses. One that stays keeps what was heard of it."""
        told = {(cluster, member): addresses for cluster, member, addresses in members}
        wanted = set(told)
        changed = wanted != set(self._by_name)
        for name in set(self._by_name) - wanted:
            gone = self._by_name.pop(name)
            self._by_id.pop(gone.id, None)
            for generation in GENERATIONS_KNOWN:
                self._keys.pop((gone.id, generation), None)
                self._senders.pop(sender(gone.id, generation), None)
        for cluster, member in wanted - set(self._by_name):
            known = Known(cluster, member, member_id(cluster, member))
            self._by_name[cluster, member] = self._by_id[known.id] = known
            for generation in GENERATIONS_KNOWN:
                key = member_key(self._secret, cluster, member, generation)
                self._keys[known.id, generation] = key
                self._senders[sender(known.id, generation)] = (known, key)
        for name, addresses in told.items():
            self._by_name[name].addresses = frozenset(map(plain_address, addresses))
        if changed:
            by_cluster: dict[ClusterName, list[Known]] = {}
            for _, known in sorted(self._by_name.items()):
                by_cluster.setdefault(known.cluster, []).append(known)
            self._by_cluster = {cluster: tuple(members) for cluster, members in by_cluster.items()}

    def key_of(self, id_of_member: int, generation: int) -> bytes | None:
        return self._keys.get((id_of_member, generation))

    def sender(self, sent_by: bytes) -> tuple[Known, bytes] | None:
        """The member and its key (`beat_bytes.sender_of`)."""
        return self._senders.get(sent_by)

    def quiet_of(self, cluster: ClusterName) -> list[BeatHeard]:
        """The beats of its members that said nothing new and wait here; they wait no longer."""
        found: list[BeatHeard] = []
        for known in self._by_cluster.get(cluster, ()):
            if known.quiet_count:
                beat = beat_of(decoded(known.quiet), known.member)
                found.append(BeatHeard(known.quiet_at, beat, known.replaced()))
        return found

    def all_speak(self, cluster: ClusterName, member: MemberName) -> Instant | None:
        """When this member said the same as before, where each of its cluster did, since `quiet_of`. A full disk is seen in
        numbers that move with every beat: who runs out of room is none of those."""
        at = None
        for known in self._by_cluster.get(cluster, ()):
            if not known.quiet_count or free_mib_of(known.quiet) < FULL_MIB:
                return None
            if known.member == member:
                at = known.quiet_at
        return at

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
