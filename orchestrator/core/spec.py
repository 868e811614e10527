"""What the operator asked for: the only source of membership (`primacy cluster apply FILE`).

Pure. Everything that can be wrong with a specification is said at once, with the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from common.ids import ClusterName, MemberName, cluster_name, member_name
from common.profile import PROFILES

STRICT = "strict"
TO_SOLO = "solo"
QUORUM = "quorum"


@dataclass(frozen=True, slots=True)
class MemberSpec:
    name: MemberName
    host: str
    addresses: tuple[str, ...]
    """Published in DNS; the first one is where other members replicate from."""
    port: int = 5432
    owner: str = "postgres"
    site: str = ""
    priority: int = 100
    nofailover: bool = False

    @property
    def address(self) -> str:
        return self.addresses[0]


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    name: ClusterName
    zone: str
    members: tuple[MemberSpec, ...]
    durability: str = QUORUM
    k: int = 1
    profile: str = "default"
    when_last_voter_lost: str = TO_SOLO
    canary: bool = False
    """Whether the leader writes a row every 20 ms, as a client would, to know every outage (core.gaps)."""
    schema: int = 1

    def member(self, name: MemberName) -> MemberSpec | None:
        return next((m for m in self.members if m.name == name), None)

    def peers_of(self, name: MemberName) -> tuple[str, ...]:
        """All addresses of the other members."""
        return tuple(address for m in self.members if m.name != name for address in m.addresses)

    def mistakes(self) -> Iterator[str]:
        """Each names the key, the value and the remedy."""
        try:
            cluster_name(self.name)
        except ValueError as error:
            yield f"name: {error}"
        if not self.zone or not self.zone.endswith("."):
            yield f"zone: {self.zone!r} must be a full domain name that ends with a dot, such as 'db.example.'"
        if self.durability == "async":
            yield "durability: 'async' is not built yet; use 'quorum'"
        elif self.durability != QUORUM:
            yield f"durability: {self.durability!r} is not known; use 'quorum'"
        if self.profile not in PROFILES:
            yield f"profile: {self.profile!r} is not known; use one of {', '.join(PROFILES)}"
        if self.when_last_voter_lost not in (STRICT, TO_SOLO):
            yield f"when_last_voter_lost: {self.when_last_voter_lost!r} is not known; use 'solo' or 'strict'"
        if not self.members:
            yield "member: a cluster needs at least one [[member]]"
        voters_at_most = sum(not m.nofailover for m in self.members) - 1
        if self.members and not any(not m.nofailover for m in self.members):
            yield "member: every member is nofailover; at least one must be able to be the primary"
        if self.k < 1 or (len(self.members) > 1 and self.k > max(1, voters_at_most)):
            yield f"k: {self.k} must lie between 1 and the number of possible voters, {max(1, voters_at_most)}"
        yield from self._member_mistakes()

    def _member_mistakes(self) -> Iterator[str]:
        seen: set[str] = set()
        places: dict[tuple[str, int], str] = {}
        hosts: dict[str, str] = {}
        for m in self.members:
            try:
                member_name(m.name)
            except ValueError as error:
                yield f"member.name: {error}"
            if m.name in seen:
                yield f"member.name: {m.name!r} stands twice; give every member a name of its own"
            seen.add(m.name)
            if not m.addresses:
                yield f"member {m.name}: address: give at least one address"
            if not 1 <= m.port <= 65535:
                yield f"member {m.name}: port: {m.port} must lie between 1 and 65535"
            for address in m.addresses:
                other = places.setdefault((address, m.port), m.name)
                if other != m.name:
                    yield f"member {m.name}: {address}:{m.port} is also that of member {other}"
            other = hosts.setdefault(m.host, m.name)
            if other != m.name:
                yield f"member {m.name}: host {m.host!r} is also that of member {other}; give each a host of its own"
