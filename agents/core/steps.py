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
from typing import TypeVar

import msgspec

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


class Untouched(StepFailed):
    """Nothing was changed before it failed, and the same may well succeed later."""


class Step(msgspec.Struct, frozen=True):
    """One thing to do; the comment of each kind names its outcome."""


# Looking and remembering


class Look(Step, frozen=True):
    """→ Sight. What the instance is at this moment; cheap (no scan, one SQL round trip at most)."""


class Sight(msgspec.Struct, frozen=True):
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


class SeeCrash(Step, frozen=True):
    """→ bool. Whether its postmaster was seen to die as a primary, untold, and none runs since: known, not looked for."""


class Store(Step, frozen=True):
    """→ AgentState, as it is now. Change these fields and make the state durable (write, fsync, rename,
    fsync of the folder). The fields and not the whole: `obeyed` and `assignment` may have moved on since
    the recipe began, and must never be put back (I9)."""

    changes: Mapping[str, object]


class DrawIncarnation(Step, frozen=True):
    """→ IncarnationId. A fresh random one (randomness is the shell's)."""


class Pause(Step, frozen=True):
    """→ None. Let this much time pass inside a loop that has its own bound."""

    pause_ms: int


class Tell(Step, frozen=True):
    """→ None. Report facts now; `activity` and `error` are words for people. What is not given is cleared,
    but `end_of_wal` stays until the next Tell that has one, or until the member streams."""

    activity: str = ""
    error: str = ""
    rebuild_needed: str = ""
    promotion_failed: str = ""
    end_of_wal: Position | None = None


# Settings: one file, included last, replaced durably; then SIGHUP when PostgreSQL runs


class Stream(Step, frozen=True):
    """Part of settings: whom to follow, under which name, through which slot (R12)."""

    upstream: Upstream
    application_name: str
    slot: str
    epoch: int


class WriteSettings(Step, frozen=True):
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


class StartStandby(Step, frozen=True):
    """→ None, once it takes SQL (hot standby) or StepFailed. Writes standby.signal first, removes
    trailing placeholder history files, lowest first (R8, V2)."""


class StartPrimary(Step, frozen=True):
    """→ None, once it takes SQL. Removes standby.signal. Only `serve` may yield it (R8)."""


class Checkpoint(Step, frozen=True):
    """→ None. While clients go on writing, so that the clean stop that follows has little left to write."""

    within_ms: int


class StopPostgres(Step, frozen=True):
    """→ StopOutcome. Until no process and no shared memory of it is left; `clean` first asks for a fast
    shutdown (walsenders drained) and falls back to immediate after `clean_within_ms`."""

    clean: bool = False
    clean_within_ms: int = 0


class StopOutcome(msgspec.Struct, frozen=True):
    clean: bool


class EndReceivers(Step, frozen=True):
    """→ None. SIGTERM to every walreceiver and slotsync worker, from the kernel's list of the
    postmaster's children, until none is left and no untitled child that was forked
    before the service file was written (R1 3)."""


class EndClients(Step, frozen=True):
    """→ None. End client sessions (they could block replay), resume a paused replay."""


# Measuring


class MeasureEnd(Step, frozen=True):
    """→ EndOfWal. The end of the last whole record: from the replay LSN of a running standby, or the
    redo LSN of the control file when stopped (R1 4, 5)."""


class EndOfWal(msgspec.Struct, frozen=True):
    timeline: int
    end_lsn: Lsn
    flushed_lsn: Lsn | None
    """pg_last_wal_receive_lsn() after the receivers are gone; None when unknown (stopped, restarted)."""
    next_record_would_end_lsn: Lsn | None
    """Where the record at `end_lsn` would end by its own length; None: no length is there."""


# Promotion (R11)


class ListHistories(Step, frozen=True):
    """→ tuple[HistoryFile, ...]. The history files above `above`, lowest first."""

    above: int


class HistoryFile(msgspec.Struct, frozen=True):
    timeline: int
    placeholder: bool
    forks_off_lsn: Lsn | None
    """The last switch LSN in it."""


class RemoveHistories(Step, frozen=True):
    """→ None. PostgreSQL must be stopped. Removed in the order given."""

    timelines: tuple[int, ...]


class PlantPlaceholders(Step, frozen=True):
    """→ None. Placeholder history files for these ids, in the order given (highest first)."""

    parent: int
    timelines: tuple[int, ...]


class PlaceHistories(Step, frozen=True):
    """→ None. Before attaching: the real history file of `timeline` first, then the gap files below it,
    downwards (R9, V1). Files that are there stay."""

    timeline: int
    history: tuple[HistoryStep, ...]


class AwaitReplay(Step, frozen=True):
    """→ bool. Whether replay reached this LSN within the time; the startup process is woken meanwhile.

    What is on disk is not yet what a promotion takes: one that is ordered before the startup process has
    read the last records again ends recovery below them (docs/decisions/replay-before-promotion.md)."""

    replayed_lsn: Lsn
    within_ms: int


class PromotePostgres(Step, frozen=True):
    """→ Promoted. pg_promote(false), client sessions ended, and a poll each three milliseconds, at most `within_ms`."""

    within_ms: int


class Promoted(msgspec.Struct, frozen=True):
    timeline: int
    switch_lsn: Lsn


# Serving


class MakeSlots(Step, frozen=True):
    """→ None. Physical slots, without reserving WAL; all others of ours up to this epoch that are inactive are
    dropped."""

    slots: tuple[str, ...]
    epoch: int


class LocalCommit(Step, frozen=True):
    """→ Lsn, the end of a small flushed commit with synchronous_commit = local (V10)."""


class SeeRule(Step, frozen=True):
    """→ str. synchronous_standby_names as a new connection sees it, or the agent's own."""

    new_session: bool = True


class SeeCommitWait(Step, frozen=True):
    """→ bool. Begin a probe commit and see it waiting for a synchronous standby (R6 2); it is left to end
    by itself, its session closed."""

    within_ms: int


class ListWalsenders(Step, frozen=True):
    """→ tuple[Walsender, ...]."""


class Walsender(msgspec.Struct, frozen=True):
    pid: int
    application_name: str
    streaming: bool
    flushed_lsn: Lsn


class EndWalsender(Step, frozen=True):
    """→ None. It comes back as another pid."""

    pid: int


class InsertPosition(Step, frozen=True):
    """→ Lsn. pg_current_wal_insert_lsn()."""


class ConfirmRule(Step, frozen=True):
    """→ None. Report R6 (4): this version's target is in force and the barrier was passed."""

    barrier_lsn: Lsn


class Open(Step, frozen=True):
    """→ None. Let clients in: replace the hba file and reload. Yielded by the shell's prober alone, when
    `opening.may_open` says so; and by nobody for a standby (`WriteSettings.closed`)."""


# Making and rebuilding a data directory


class Initdb(Step, frozen=True):
    """→ str, the system identifier. Refused (StepFailed) when the directory is not empty."""


class Rewind(Step, frozen=True):
    """→ None. pg_rewind from the upstream, CHECKPOINT there first (E10). PostgreSQL must be stopped.

    `Untouched` when the upstream was the reason and the data directory is as whole as before. After any other failure
    it may have been written to.
    """

    upstream: Upstream


class Clone(Step, frozen=True):
    """→ None. Empty the directory, pg_basebackup from the upstream."""

    upstream: Upstream


class WriteMarker(Step, frozen=True):
    """→ None. (cluster, system identifier, member, incarnation) into the data directory, durably."""

    state: AgentState


class Reached(Step, frozen=True):
    """→ bool. Whether the scanned WAL still reaches this position (R3: checked before the promotion)."""

    position: Position
