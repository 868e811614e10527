"""What the engine is told; each was stamped when it came in.

Pure. Ingress and dispatch put these into the inbox; nothing else reaches a decision.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from common.assignment import Version
from common.facts import Facts, PostgresState, WriteState
from common.ids import IncarnationId, MemberName
from common.lsn import Lsn
from common.timebase import Instant
from orchestrator.core.names import WantedNames
from orchestrator.core.record import Record
from orchestrator.core.spec import ClusterSpec


class Beat(msgspec.Struct, frozen=True, gc=False):
    """A datagram's content, checked and decoded; also the fields that it refreshes in the facts."""

    member: MemberName
    boot_id: int
    sequence: int
    obeyed: Version
    incarnation: IncarnationId
    system_identifier: str
    postgres: PostgresState
    postmaster_alive: bool
    receiver_alive: bool
    open: bool
    sealed: bool
    timeline: int
    flushed_lsn: Lsn
    replayed_lsn: Lsn
    insert_lsn: Lsn
    write_state: WriteState
    write_age_ms: int | None
    received_age_ms: int | None
    free_mib: int | None


class BeatHeard(msgspec.Struct, frozen=True, gc=False):
    at: Instant
    beat: Beat
    merged: int = 1
    """How many beats this stands for: the newest of those that came since the loop looked."""


class BeatRelayed(msgspec.Struct, frozen=True, gc=False):
    """A beat that a peer of its sender passed on. It proves that the sender lives, and not that we reach it."""

    at: Instant
    beat: Beat
    by: MemberName


class FactsHeard(msgspec.Struct, frozen=True, gc=False):
    """Over the stream; also counts as being heard."""

    at: Instant
    facts: Facts


class StreamLost(msgspec.Struct, frozen=True, gc=False):
    at: Instant
    member: MemberName


class ObserverAnswered(msgspec.Struct, frozen=True, gc=False):
    """What another control node heard of a member; `heard_age_ms` is None when it never heard of it."""

    at: Instant
    node: str
    member: MemberName
    heard_age_ms: int | None
    listening_ms: int


class ObserverFailed(msgspec.Struct, frozen=True, gc=False):
    at: Instant
    node: str
    member: MemberName


class ProbeAnswer(StrEnum):
    PRIMARY = "primary"
    STANDBY = "standby"
    REFUSED = "refused"
    """A connection was refused at once, or the server says that it shuts down or starts up."""
    SILENT = "silent"


class SqlProbed(msgspec.Struct, frozen=True, gc=False):
    at: Instant
    member: MemberName
    answer: ProbeAnswer


class RecordLoaded(msgspec.Struct, frozen=True, gc=False):
    """At the beginning of a term, and whenever a save was refused or its outcome had to be read back."""

    at: Instant
    record: Record | None
    revision: int


class RecordSaved(msgspec.Struct, frozen=True, gc=False):
    at: Instant
    record: Record
    revision: int


class SpecLoaded(msgspec.Struct, frozen=True, gc=False):
    at: Instant
    spec: ClusterSpec


class LeadershipGained(msgspec.Struct, frozen=True, gc=False):
    """The shell began to lead; `control_nodes` are the others that can be asked."""

    at: Instant
    term: int
    etcd_cluster_id: int
    other_nodes: tuple[str, ...]
    highest_seen: Version
    """What this node's small durable file remembers of the cluster (R14)."""


class LeadershipLost(msgspec.Struct, frozen=True, gc=False):
    at: Instant


class NameOutcome(StrEnum):
    PUBLISHED = "published"
    """Written, or found as wanted."""
    CONFIRMED = "confirmed"
    """Read back from every authoritative server."""
    SUPERSEDED = "superseded"
    FAILED = "failed"


class NamesAnswered(msgspec.Struct, frozen=True, gc=False):
    at: Instant
    outcome: NameOutcome
    epoch: int
    revision: int
    """CONFIRMED, PUBLISHED: what was asked for. SUPERSEDED: what stands there."""
    text: str = ""
    wanted: WantedNames | None = None
    """The request that this answers."""


class SwitchoverAsked(msgspec.Struct, frozen=True, gc=False):
    at: Instant
    operation: str
    by: str
    to: MemberName | None


class FailoverAsked(msgspec.Struct, frozen=True, gc=False):
    at: Instant
    operation: str
    by: str
    force: bool


class Tick(msgspec.Struct, frozen=True, gc=False):
    at: Instant


Event = (
    BeatHeard
    | BeatRelayed
    | FactsHeard
    | StreamLost
    | ObserverAnswered
    | ObserverFailed
    | SqlProbed
    | RecordLoaded
    | RecordSaved
    | SpecLoaded
    | LeadershipGained
    | LeadershipLost
    | NamesAnswered
    | SwitchoverAsked
    | FailoverAsked
    | Tick
)
