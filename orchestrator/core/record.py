"""The cluster's authoritative document in etcd (protocol.md, "The record").

Pure. The safety fields live here alone; changed only by compare-and-swap. Frozen all the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec
from msgspec.structs import replace

from common.assignment import HistoryStep, Position
from common.facts import SealReport
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import ZERO, Lsn
from common.rule import Rule, Voter


class Phase(StrEnum):
    INITIALISING = "INITIALISING"
    STABLE = "STABLE"
    SEALING = "SEALING"
    PROMOTING = "PROMOTING"


NEXT: Mapping[Phase, frozenset[Phase]] = MappingProxyType(
    {
        Phase.INITIALISING: frozenset({Phase.INITIALISING, Phase.STABLE}),
        Phase.STABLE: frozenset({Phase.STABLE, Phase.SEALING}),
        # No way back: the old primary may be the candidate.
        Phase.SEALING: frozenset({Phase.SEALING, Phase.PROMOTING}),
        # To SEALING always with a new epoch: the candidate was given up.
        Phase.PROMOTING: frozenset({Phase.PROMOTING, Phase.STABLE, Phase.SEALING}),
    }
)


class Prior(msgspec.Struct, frozen=True, gc=False):
    """An outgoing primary and one of the rules under which it may have acknowledged (R2, R3)."""

    epoch: int
    primary: MemberName
    number: int
    """The primary's incarnation."""
    rule: Rule
    bound: Position | None = None
    """What a candidate must reach; recorded with the candidate."""


class Handover(msgspec.Struct, frozen=True, gc=False):
    """A switchover: while `waiting`, only the primary is asked to seal (R1)."""

    to: MemberName | None
    """None: any."""
    waiting: bool


class Operation(msgspec.Struct, frozen=True, gc=False):
    """What a person (or the leader itself) set out to do; a new leader goes on with it."""

    id: str
    kind: str
    """`switchover`, `failover` or `automatic`."""
    by: str
    """Who asked; for `automatic` the diagnosis."""
    outgoing: MemberName | None = None
    """Who was the primary when it began."""


class MemberRecord(msgspec.Struct, frozen=True, gc=False):
    name: MemberName
    address: str
    addresses: tuple[str, ...]
    port: int
    site: str
    priority: int
    nofailover: bool
    number: int = 0
    """Of the incarnation; 0: none was adopted yet."""
    incarnation: IncarnationId | None = None
    rebuild: Position | None = None
    """Leave to throw away what lies above the fork: the end that it was decided on (R7, R9)."""
    rebuild_empty: bool = False
    """Leave to fill an empty or half-made data directory."""
    upstream_oldest_lsn: Lsn = ZERO
    """Where the WAL of this epoch's primary begins, of which the member was seen to need older; ZERO: it needs none."""

    @property
    def voter(self) -> Voter:
        return Voter(self.name, self.number)


class Record(msgspec.Struct, frozen=True, gc=False):
    cluster: ClusterName
    epoch: int
    phase: Phase
    members: tuple[MemberRecord, ...]
    primary: MemberName | None = None
    """INITIALISING: the member that shall be the first. SEALING: the outgoing one."""
    timeline: int = 0
    timeline_max: int = 0
    history: tuple[HistoryStep, ...] = ()
    """The lineage of `timeline`: which timelines took effect, and where each was left."""
    rules: tuple[Rule, ...] = ()
    target: Rule | None = None
    handover: Handover | None = None
    candidate: MemberName | None = None
    candidate_position: Position | None = None
    prior: tuple[Prior, ...] = ()
    seals: tuple[tuple[MemberName, SealReport], ...] = ()
    """The seal reports of this epoch, by member name."""
    system_identifier: str = ""
    etcd_cluster_id: int = 0
    operation: Operation | None = None
    number_max: int = 0
    """The highest incarnation number of any member that left: one that comes anew goes on above it, so that
    no name in `synchronous_standby_names` ever means two (R13)."""
    schema: int = 1

    def __post_init__(self) -> None:
        if not 1 <= len(self.rules) <= 2:
            raise ValueError(f"a record lists one rule, or two during a change: {self.rules}")

    @property
    def rule(self) -> Rule:
        return self.rules[0]

    def member(self, name: MemberName | None) -> MemberRecord | None:
        for member in self.members:
            if member.name == name:
                return member
        return None

    def the(self, name: MemberName) -> MemberRecord:
        """A member that must be there; raises KeyError otherwise."""
        found = self.member(name)
        if found is None:
            raise KeyError(name)
        return found

    def seal_of(self, name: MemberName) -> SealReport | None:
        return dict(self.seals).get(name)

    def with_member(self, changed: MemberRecord) -> Record:
        return replace(self, members=tuple(changed if m.name == changed.name else m for m in self.members))

    def is_voter_or_named(self, voter: Voter) -> bool:
        """Whether a rule, or a prior without a bound, names it: then it is never rebuilt on purpose (R13)."""
        if any(voter in rule.voters for rule in self.rules):
            return True
        return any(
            prior.bound is None
            and (voter in prior.rule.voters or (prior.primary, prior.number) == (voter.member, voter.number))
            for prior in self.prior
        )
