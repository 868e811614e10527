"""The steps that an agent can take, and what each answers.

Pure: a recipe (`recipes_*.py`) yields steps and receives their outcomes; the shell
(`agents/postgres`) performs them on PostgreSQL, the simulator on its model. Every step is
idempotent. A step that can't be done raises `StepFailed` inside the recipe (the shell throws
it in); a recipe that lets it pass ends, its text is reported, and it is begun anew from the
facts after a pause.

Rule of admission: a step changes or measures one thing and decides nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from agents.core.state import AgentState
from common.assignment import HistoryStep, Position, Upstream
from common.errors import FailoverError
from common.facts import PostgresState
from common.lsn import Lsn

Outcome = object
T = TypeVar("T")
Recipe = Generator["Step", Outcome, T]


class StepFailed(FailoverError):
    """A step could not be done; the text says why, in words for people."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do; the comment of each kind names its outcome."""


# Looking and remembering


@dataclass(frozen=True, slots=True)
class Look(Step):
    """→ Sight. What the instance is at this moment; cheap (no scan, one SQL round trip at most)."""


@dataclass(frozen=True, slots=True)
class Sight:
    postgres: PostgresState
    system_identifier: str = ""
    """Of the data directory; empty when there is none."""
    marker_matches: bool = True
    """The marker in the data directory names this cluster, member and incarnation."""
    belongs_to: str = ""
    """HALF: the marker names another member, `cluster/member`: of a rewind cut short, which copies the source's,
    or of somebody else's volume."""
    timeline: int = 0
    """PRIMARY: the current one. STANDBY: of the end of WAL received. STOPPED: the higher of checkpoint
    timeline and minimum-recovery-ending timeline of the control file."""
    history: tuple[HistoryStep, ...] = ()
    """Of `timeline`, from its history file, placeholders left out; empty for timeline 1."""
    flushed_lsn: Lsn | None = None
    replayed_lsn: Lsn | None = None
    clean_shutdown: bool = False
    """STOPPED: the control file says `shut down` or `shut down in recovery`."""
    was_primary: bool = False
    """STOPPED: no standby.signal lies in the data directory."""
    settings_rule: str | None = None
    """synchronous_standby_names in the durable settings file; None when there is no such file."""
    settings_upstream: str = ""
    """application_name in the durable settings file; empty when nobody is followed."""
    settings_address: str = ""
    """Of the upstream, `host:port`, in the service file; empty when it was withdrawn."""


@dataclass(frozen=True, slots=True)
class Store(Step):
    """→ AgentState, as it is now. Change these fields and make the state durable (write, fsync, rename,
    fsync of the folder). The fields and not the whole: `obeyed` and `assignment` may have moved on since
    the recipe began, and must never be put back (I9)."""

    changes: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class DrawIncarnation(Step):
    """→ IncarnationId. A fresh random one (randomness is the shell's)."""


@dataclass(frozen=True, slots=True)
class Pause(Step):
    """→ None. Let this much time pass inside a loop that has its own bound."""

    pause_ms: int


@dataclass(frozen=True, slots=True)
class Tell(Step):
    """→ None. Report facts now; `activity` and `error` are words for people. What is not given is cleared,
    but `end_of_wal` stays until the next Tell that has one, or until the member streams."""

    activity: str = ""
    error: str = ""
    rebuild_needed: str = ""
    promotion_failed: str = ""
    end_of_wal: Position | None = None


# Settings: one file, included last, replaced durably; then SIGHUP when PostgreSQL runs


@dataclass(frozen=True, slots=True)
class Stream(Step):
    """Part of settings: whom to follow, under which name, through which slot (R12)."""

    upstream: Upstream
    application_name: str
    slot: str
    epoch: int


@dataclass(frozen=True, slots=True)
class WriteSettings(Step):
    """→ None. Write the service file (section per epoch, or withdrawn), the settings, the hba file; reload.

    `rule` is the text of synchronous_standby_names: the fence for every standby; empty only for a
    primary whose stored rule is solo or async (R5). Without `stream`: no conninfo, no slot, no
    restore_command, no slot sync, and the service file's sections withdrawn first (R1 2).
    """

    rule: str
    stream: Stream | None = None
    closed: bool | None = True
    """None: as it is. Closed lets in the agent, the probe and the replication role only."""


# PostgreSQL, the process


@dataclass(frozen=True, slots=True)
class StartStandby(Step):
    """→ None, once it takes SQL (hot standby) or StepFailed. Writes standby.signal first, removes
    trailing placeholder history files, lowest first (R8, V2)."""


@dataclass(frozen=True, slots=True)
class StartPrimary(Step):
    """→ None, once it takes SQL. Removes standby.signal. Only `serve` may yield it (R8)."""


@dataclass(frozen=True, slots=True)
class Checkpoint(Step):
    """→ None. While clients go on writing, so that the clean stop that follows has little left to write."""

    within_ms: int


@dataclass(frozen=True, slots=True)
class StopPostgres(Step):
    """→ StopOutcome. Until no process and no shared memory of it is left; `clean` first asks for a fast
    shutdown (walsenders drained) and falls back to immediate after `clean_within_ms`."""

    clean: bool = False
    clean_within_ms: int = 0


@dataclass(frozen=True, slots=True)
class StopOutcome:
    clean: bool


@dataclass(frozen=True, slots=True)
class EndReceivers(Step):
    """→ None. SIGTERM to every walreceiver and slotsync worker, from the kernel's list of the
    postmaster's children, until none and no untitled child is left (R1 3)."""


@dataclass(frozen=True, slots=True)
class EndClients(Step):
    """→ None. End client sessions (they could block replay), resume a paused replay."""


# Measuring


@dataclass(frozen=True, slots=True)
class MeasureEnd(Step):
    """→ EndOfWal. The end of the last whole record: from the replay LSN of a running standby, or the
    redo LSN of the control file when stopped (R1 4, 5)."""


@dataclass(frozen=True, slots=True)
class EndOfWal:
    timeline: int
    end_lsn: Lsn
    flushed_lsn: Lsn | None
    """pg_last_wal_receive_lsn() after the receivers are gone; None when unknown (stopped, restarted)."""
    next_record_would_end_lsn: Lsn | None
    """Where the record at `end_lsn` would end by its own length; None: no length is there."""


# Promotion (R11)


@dataclass(frozen=True, slots=True)
class ListHistories(Step):
    """→ tuple[HistoryFile, ...]. The history files above `above`, lowest first."""

    above: int


@dataclass(frozen=True, slots=True)
class HistoryFile:
    timeline: int
    placeholder: bool
    forks_off_lsn: Lsn | None
    """The last switch LSN in it."""


@dataclass(frozen=True, slots=True)
class RemoveHistories(Step):
    """→ None. PostgreSQL must be stopped. Removed in the order given."""

    timelines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PlantPlaceholders(Step):
    """→ None. Placeholder history files for these ids, in the order given (highest first)."""

    parent: int
    timelines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PlaceHistories(Step):
    """→ None. Before attaching: the real history file of `timeline` first, then the gap files below it,
    downwards (R9, V1). Files that are there stay."""

    timeline: int
    history: tuple[HistoryStep, ...]


@dataclass(frozen=True, slots=True)
class AwaitReplay(Step):
    """→ bool. Whether replay reached this LSN within the time; the startup process is woken meanwhile.

    What is on disk is not yet what a promotion takes: one that is ordered before the startup process has
    read the last records again ends recovery below them (docs/decisions/replay-before-promotion.md)."""

    replayed_lsn: Lsn
    within_ms: int


@dataclass(frozen=True, slots=True)
class PromotePostgres(Step):
    """→ Promoted. pg_promote(false), client sessions ended, and a poll each millisecond, at most `within_ms`."""

    within_ms: int


@dataclass(frozen=True, slots=True)
class Promoted:
    timeline: int
    switch_lsn: Lsn


# Serving


@dataclass(frozen=True, slots=True)
class MakeSlots(Step):
    """→ None. Physical slots, without reserving WAL; all others of ours up to this epoch that are inactive are
    dropped."""

    slots: tuple[str, ...]
    epoch: int


@dataclass(frozen=True, slots=True)
class LocalCommit(Step):
    """→ Lsn, the end of a small flushed commit with synchronous_commit = local (V10)."""


@dataclass(frozen=True, slots=True)
class SeeRule(Step):
    """→ str. synchronous_standby_names as a new connection sees it, or the agent's own."""

    new_session: bool = True


@dataclass(frozen=True, slots=True)
class SeeCommitWait(Step):
    """→ bool. Begin a probe commit and see it waiting for a synchronous standby (R6 2); it is left to end
    by itself, its session closed."""

    within_ms: int


@dataclass(frozen=True, slots=True)
class ListWalsenders(Step):
    """→ tuple[Walsender, ...]."""


@dataclass(frozen=True, slots=True)
class Walsender:
    pid: int
    application_name: str
    streaming: bool
    flushed_lsn: Lsn


@dataclass(frozen=True, slots=True)
class EndWalsender(Step):
    """→ None. It comes back as another pid."""

    pid: int


@dataclass(frozen=True, slots=True)
class InsertPosition(Step):
    """→ Lsn. pg_current_wal_insert_lsn()."""


@dataclass(frozen=True, slots=True)
class ConfirmRule(Step):
    """→ None. Report R6 (4): this version's target is in force and the barrier was passed."""

    barrier_lsn: Lsn


@dataclass(frozen=True, slots=True)
class Open(Step):
    """→ None. Let clients in: replace the hba file and reload. Yielded by the shell's prober alone, when
    `opening.may_open` says so; and by nobody for a standby (`WriteSettings.closed`)."""


# Making and rebuilding a data directory


@dataclass(frozen=True, slots=True)
class Initdb(Step):
    """→ str, the system identifier. Refused (StepFailed) when the directory is not empty."""


@dataclass(frozen=True, slots=True)
class Rewind(Step):
    """→ None. pg_rewind from the upstream, CHECKPOINT there first (E10). PostgreSQL must be stopped."""

    upstream: Upstream


@dataclass(frozen=True, slots=True)
class Clone(Step):
    """→ None. Empty the directory, pg_basebackup from the upstream."""

    upstream: Upstream


@dataclass(frozen=True, slots=True)
class WriteMarker(Step):
    """→ None. (cluster, system identifier, member, incarnation) into the data directory, durably."""

    state: AgentState


@dataclass(frozen=True, slots=True)
class Reached(Step):
    """→ bool. Whether the scanned WAL still reaches this position (R3: checked before the promotion)."""

    position: Position
