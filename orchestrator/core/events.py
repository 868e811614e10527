"""What the engine is told; each was stamped when it came in.

Pure. Ingress and dispatch put these into the inbox; nothing else reaches a decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from common.assignment import Version
from common.facts import Facts, PostgresState, WriteState
from common.ids import IncarnationId, MemberName
from common.lsn import Lsn
from common.timebase import Instant
from orchestrator.core.names import WantedNames
from orchestrator.core.record import Record
from orchestrator.core.spec import ClusterSpec


@dataclass(frozen=True, slots=True)
class Beat:
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


@dataclass(frozen=True, slots=True)
class BeatHeard:
    at: Instant
    beat: Beat
    merged: int = 1
    """How many beats this stands for: the newest of those that came since the loop looked."""


@dataclass(frozen=True, slots=True)
class FactsHeard:
    """Over the stream; also counts as being heard."""

    at: Instant
    facts: Facts


@dataclass(frozen=True, slots=True)
class StreamLost:
    at: Instant
    member: MemberName


@dataclass(frozen=True, slots=True)
class ObserverAnswered:
    """What another control node heard of a member; `heard_age_ms` is None when it never heard of it."""

    at: Instant
    node: str
    member: MemberName
    heard_age_ms: int | None
    listening_ms: int


@dataclass(frozen=True, slots=True)
class ObserverFailed:
    at: Instant
    node: str
    member: MemberName


class ProbeAnswer(StrEnum):
    PRIMARY = "primary"
    STANDBY = "standby"
    REFUSED = "refused"
    """A connection was refused at once, or the server says that it shuts down or starts up."""
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class SqlProbed:
    at: Instant
    member: MemberName
    answer: ProbeAnswer


@dataclass(frozen=True, slots=True)
class RecordLoaded:
    """At the beginning of a term, and whenever a save was refused or its outcome had to be read back."""

    at: Instant
    record: Record | None
    revision: int


@dataclass(frozen=True, slots=True)
class RecordSaved:
    at: Instant
    record: Record
    revision: int


@dataclass(frozen=True, slots=True)
class SpecLoaded:
    at: Instant
    spec: ClusterSpec


@dataclass(frozen=True, slots=True)
class LeadershipGained:
    """The shell began to lead; `control_nodes` are the others that can be asked."""

    at: Instant
    term: int
    etcd_cluster_id: int
    other_nodes: tuple[str, ...]
    highest_seen: Version
    """What this node's small durable file remembers of the cluster (R14)."""


@dataclass(frozen=True, slots=True)
class LeadershipLost:
    at: Instant


class NameOutcome(StrEnum):
    PUBLISHED = "published"
    """Written, or found as wanted."""
    CONFIRMED = "confirmed"
    """Read back from every authoritative server."""
    SUPERSEDED = "superseded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class NamesAnswered:
    at: Instant
    outcome: NameOutcome
    epoch: int
    revision: int
    """CONFIRMED, PUBLISHED: what was asked for. SUPERSEDED: what stands there."""
    text: str = ""
    wanted: WantedNames | None = None
    """The request that this answers."""


@dataclass(frozen=True, slots=True)
class SwitchoverAsked:
    at: Instant
    operation: str
    by: str
    to: MemberName | None


@dataclass(frozen=True, slots=True)
class FailoverAsked:
    at: Instant
    operation: str
    by: str
    force: bool


@dataclass(frozen=True, slots=True)
class Tick:
    at: Instant


Event = (
    BeatHeard
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
