"""What an agent last reported of its member (protocol.md, "Words").

Pure. Facts say what was measured and how; ages travel, never timestamps of another host.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from common.assignment import HistoryStep, Position, Version
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import ZERO, Lsn

NO_VERSION = Version(0, 0)


class PostgresState(StrEnum):
    ABSENT = "absent"
    """No data directory yet, or an empty one."""
    HALF = "half"
    """A clone or a rewind was cut short: the directory is unusable (R13)."""
    STOPPED = "stopped"
    """No process of it and no shared memory is left."""
    STARTING = "starting"
    STANDBY = "standby"
    PRIMARY = "primary"
    DYING = "dying"
    """The postmaster is gone or stopping; processes of it are left."""
    UNKNOWN = "unknown"


class WriteState(StrEnum):
    """What the probe commit says (protocol.md, "When to try")."""

    NONE = "none"
    ACKNOWLEDGED = "acknowledged"
    WAITING = "waiting"
    """The disk is fine; voters are missing."""
    STALLED = "stalled"
    """Not flushed in time: the disk."""


class SealReport(msgspec.Struct, frozen=True, gc=False):
    """R1 (6). `flushed_lsn` is None where it is unknown (after a restart of PostgreSQL)."""

    epoch: int
    incarnation: IncarnationId
    timeline: int
    end_lsn: Lsn
    flushed_lsn: Lsn | None
    damaged: bool = False
    """Counts for R2 with `flushed_lsn` as its position; can't be the candidate (V6, V7)."""
    was_primary: bool = False
    clean: bool = False
    """A primary that was shut down cleanly, its walsenders drained."""

    @property
    def position(self) -> Position:
        if self.damaged and self.flushed_lsn is not None:
            return Position(self.timeline, self.flushed_lsn)
        return Position(self.timeline, self.end_lsn)


class Peer(msgspec.Struct, frozen=True, gc=False):
    """A row of pg_stat_replication on the primary."""

    application_name: str
    state: str
    flushed_lsn: Lsn
    reply_age_ms: int = 0


class RuleConfirmation(msgspec.Struct, frozen=True, gc=False):
    """R6 (4): the target of the record at this version is in force, and its barrier was passed."""

    version: Version
    barrier_lsn: Lsn


class Promotion(msgspec.Struct, frozen=True, gc=False):
    """The member was promoted in this epoch, on this timeline."""

    epoch: int
    timeline: int
    switch_lsn: Lsn
    """Where the new timeline forks off."""
    first_commit_lsn: Lsn
    """The end of the first commit on the new timeline; ZERO until it was made."""


class Facts(msgspec.Struct, frozen=True, gc=False):
    """Everything that an agent reports over the stream; a beat refreshes the fields marked (b)."""

    cluster: ClusterName
    member: MemberName
    incarnation: IncarnationId
    obeyed: Version  # (b)
    system_identifier: str = ""  # (b)
    postgres: PostgresState = PostgresState.UNKNOWN  # (b)
    postmaster_alive: bool = False  # (b)
    open: bool = False  # (b) clients are let in
    timeline: int = 0  # (b)
    history: tuple[HistoryStep, ...] = ()
    flushed_lsn: Lsn = ZERO  # (b) primary: pg_current_wal_flush_lsn; standby: pg_last_wal_receive_lsn
    replayed_lsn: Lsn = ZERO  # (b)
    insert_lsn: Lsn = ZERO  # (b)
    end_of_wal: Position | None = None
    """By scan, the last one; only of a member that is stopped or sealed."""
    rule_in_force: str | None = None
    """synchronous_standby_names as a new connection sees it; None when it was not looked at."""
    rule_confirmation: RuleConfirmation | None = None
    promotion: Promotion | None = None
    promotion_failed: str = ""
    """Why the promotion ordered in the obeyed epoch can't happen any more."""
    seal: SealReport | None = None
    peers: tuple[Peer, ...] = ()
    receiver_alive: bool = False  # (b)
    received_age_ms: int | None = None  # (b) since anything came from the upstream
    upstream: str = ""
    """application_name under which it streams, e.g. `b.2@7`; empty when it does not."""
    write_state: WriteState = WriteState.NONE  # (b)
    write_age_ms: int | None = None  # (b) since the newest acknowledged probe commit began
    first_write_age_ms: int | None = None
    """Since the first probe commit after this promotion or start was acknowledged."""
    free_mib: int | None = None  # (b)
    replay_backlog_bytes: int = 0
    replay_paused: bool = False
    oldest_lsn: Lsn = ZERO
    """Of a primary: where the WAL begins that it can still send; ZERO: not known."""
    rebuild_needed: str = ""
    """Why the member can't attach as it is (R9); empty when it can."""
    activity: str = ""
    """What the agent is doing that takes long, for people: `cloning from a, 40 %`."""
    error: str = ""
    """The last thing that went wrong, in words, for people."""
    postgres_version: int = 0
    highest_version: Version = NO_VERSION
    """The highest (epoch, revision) that this agent ever stored, also under older incarnations (R14)."""
    highest_number: int = 0
    """The highest number of an incarnation that this agent ever stored; 0 before the first (R14)."""
