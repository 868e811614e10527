"""What this control node knows of a cluster, from what it heard itself.

Pure and frozen. Nothing here is authoritative (that is the record); it is warm on every control
node, leading or not, and starts empty with the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from msgspec.structs import replace

from common.assignment import Version
from common.facts import NO_VERSION, Facts, PostgresState
from common.ids import IncarnationId, MemberName
from common.timebase import Instant
from orchestrator.core.events import FailoverAsked, ProbeAnswer, SwitchoverAsked
from orchestrator.core.names import WantedNames
from orchestrator.core.record import MemberRecord, Record
from orchestrator.core.spec import ClusterSpec

BEGINNING = Instant(0)


class Writes(msgspec.Struct, frozen=True, gc=False):
    """When the member's probe commits were acknowledged, by this node's clock."""

    last_at: Instant | None = None
    last_epoch: int = 0
    first_at: Instant | None = None
    """The first one acknowledged in `first_epoch`."""
    first_epoch: int = 0


class Relayed(msgspec.Struct, frozen=True, gc=False):
    """The newest of a member's beats that came by way of a peer, and what of it matters."""

    at: Instant
    by: MemberName
    boot_id: int
    sequence: int
    incarnation: IncarnationId
    epoch: int
    """That it obeys."""
    acknowledges: bool
    """It is a primary, and its newest probe commit was acknowledged."""


MISSED_KEPT = 4


class MemberView(msgspec.Struct, frozen=True, gc=False):
    name: MemberName
    facts: Facts | None = None
    """The newest report, its fast fields refreshed by beats."""
    heard_at: Instant | None = None
    """Anything at all came from it."""
    facts_at: Instant | None = None
    """A whole report came."""
    boot_id: int = 0
    sequence: int = 0
    """Of the newest beat of that boot."""
    missed_at: tuple[Instant, ...] = ()
    """When a beat was seen to be missing, by the numbers of those that came; the newest MISSED_KEPT times."""
    gap_us: int = 0
    """Smoothed time between beats, plus four times its smoothed deviation is the adaptive threshold."""
    gap_deviation_us: int = 0
    seen_primary_epoch: int = 0
    """The epoch in which this node saw it running as a primary."""
    writes: Writes = Writes()
    stalled_since: Instant | None = None
    """Since when each report said that commits are not flushed; None when the newest did not."""
    waiting_since: Instant | None = None
    """The same for commits that wait for voters."""
    relayed: Relayed | None = None
    """It proves nothing of whether an order would reach it: whoever is only relayed counts as silent."""
    streaming_at: Mapping[str, Instant] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    """Of a primary: when it last reported each application_name as streaming."""

    @property
    def postgres(self) -> PostgresState:
        return PostgresState.UNKNOWN if self.facts is None else self.facts.postgres

    def is_current(self, member: MemberRecord) -> bool:
        """Whether its reports come from the incarnation in the record."""
        return self.facts is not None and self.facts.incarnation == member.incarnation


class Suspicion(msgspec.Struct, frozen=True, gc=False):
    """A primary that was silent for longer than the threshold, and what the witnesses say."""

    member: MemberName
    since: Instant
    asked_at: Instant
    """The witnesses are asked again now and then while it lasts."""
    awaiting: frozenset[str]
    """Control nodes that have not answered yet."""
    heard_elsewhere_at: Instant | None = None
    """The newest beat that another control node says it heard, by this node's clock."""
    sql: ProbeAnswer | None = None


class Names(msgspec.Struct, frozen=True, gc=False):
    """What is known of DNS."""

    confirmed: WantedNames | None = None
    confirmed_at: Instant | None = None
    superseded_by: int = 0
    """A higher epoch that was found there; 0: none."""
    text: str = ""


class Leading(msgspec.Struct, frozen=True, gc=False):
    term: int
    since: Instant
    etcd_cluster_id: int
    other_nodes: tuple[str, ...]
    highest_seen: Version = NO_VERSION


class ClusterView(msgspec.Struct, frozen=True, gc=False):
    members: Mapping[MemberName, MemberView] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    spec: ClusterSpec | None = None
    record: Record | None = None
    revision: int = 0
    record_known: bool = False
    """The record was read in this term (it may be that there is none)."""
    phase_since: Instant = BEGINNING
    """Since when this node has known the record to be in this phase of this epoch."""
    change_revision: int = 0
    """The revision at which this node first saw the present (rules, target)."""
    change_since: Instant = BEGINNING
    listening_since: Instant | None = None
    leading: Leading | None = None
    suspicion: Suspicion | None = None
    sealed_enough_at: Instant | None = None
    names: Names = Names()
    asked: tuple[SwitchoverAsked | FailoverAsked, ...] = ()
    told: frozenset[str] = frozenset()
    """Stories of this epoch that were told already."""
    stuck: tuple[str, ...] = ()
    """A failover was due and could not be, by name, as it was told last; empty when the primary is well."""

    def member(self, name: MemberName) -> MemberView:
        return self.members.get(name) or MemberView(name)

    def with_member(self, member: MemberView) -> ClusterView:
        return replace(self, members=MappingProxyType({**self.members, member.name: member}))

    @property
    def version(self) -> Version:
        return NO_VERSION if self.record is None else Version(self.record.epoch, self.revision)
