"""A model data directory: WAL with content, timelines, history files, what replay has reached, what is broken.

Rule of admission: what is there while no process of PostgreSQL runs, and what a start makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.assignment import HistoryStep
from common.facts import PostgresState
from tests.simulator.model_host import Host
from tests.simulator.model_parts import RECORD, Conf, Entry, HistoryFile
from tests.simulator.world import World

if TYPE_CHECKING:
    from tests.simulator.model_postgres import Postgres

_RUNS = (PostgresState.STANDBY, PostgresState.PRIMARY)
_LEFT = (PostgresState.STARTING, PostgresState.STANDBY, PostgresState.PRIMARY, PostgresState.DYING)

SCAN_CHECKS_ITS_FIRST_LINK = True
"""agents/postgres/wal_end.py does; without it the foreign records behind the end are taken for own ones."""


@dataclass(eq=False, slots=True)
class DataDirectory:
    world: World
    member: str
    find: Callable[[str], Postgres | None]
    """The server of a member as this one reaches it now; None across a partition."""
    host: Host = field(init=False)
    state: PostgresState = PostgresState.ABSENT
    system_identifier: str = ""
    marker: tuple[str, ...] = ()
    standby_signal: bool = False
    log: list[Entry] = field(default_factory=list)
    timeline: int = 1
    history: tuple[HistoryStep, ...] = ()
    histories: dict[int, HistoryFile] = field(default_factory=dict)
    target: int = 1
    """The newest timeline as the startup process found it when it last looked, and remembers it (R11)."""
    checkpoint_timeline: int = 1
    """In the control file: right after a promotion still the old one (E10)."""
    conf: Conf = field(default_factory=Conf)
    slots: set[str] = field(default_factory=set)
    flushed_upto: int = 0
    """On disk; what lies above is written at the most, and a power cut takes it."""
    clean: bool = False
    run: int = 0
    """Counts starts: what was scheduled for an earlier run is dropped."""
    disks: int = 1
    """How many it had: what is promised by a disk that is lost is lost with it."""
    flush_known: bool = False
    """Something was streamed since the start: pg_last_wal_receive_lsn() says more than a segment's start (E5)."""
    half_record: bool = False
    flushed_before: int = 0
    """What was flushed when replay could not read some of it and asked for it again: on the same timeline the receive LSN
    does not go back then (RequestXLogStreaming), only a restart forgets it."""
    """The receiver flushed, and reported, the first part of the next record (V6, G4)."""
    damaged_from: int | None = None
    """From here on the WAL on disk can't be read; it lies above what was replayed (V7)."""
    oldest: int = 0
    """Where the WAL begins that is still there: of a clone's, where it was begun; 0: all of it is."""
    scanned_end: int = 0
    """Where the last scan stopped; the disk may have been damaged since."""
    foreign_records: int = 0
    """Whole records of other WAL behind the end, in a segment that a rewind copied (the-record-before-the-scan.md)."""
    half_rewound: bool = False
    """HALF: by a rewind, not by a clone."""
    lost_wal: bool = False
    """WAL that it had flushed was damaged and is gone."""
    held_at: int = 0
    held_until: int = 0
    held_by: str = ""
    """Replay stands still here until then: `paused`, `conflict`, `slow`, or `unread` (replay-before-promotion.md)."""
    full: bool = False
    """No space: whatever must write WAL ends with a PANIC, and no start succeeds."""
    stalled_until: int = 0
    """Its disk hangs: connected, but nothing is flushed and nothing is answered."""

    @property
    def end(self) -> int:
        return self.log[-1].end if self.log else RECORD

    @property
    def running(self) -> bool:
        """It takes SQL."""
        return self.state in _RUNS

    @property
    def anything_left(self) -> bool:
        """A process of it, or its shared memory."""
        return self.state in _LEFT

    @property
    def flushed_end(self) -> int:
        """What a power cut leaves, and what walsenders may send."""
        return min(self.flushed_upto, self.end)

    @property
    def reported_flush(self) -> int:
        """pg_last_wal_receive_lsn() of a standby: the middle of a record, too (V6)."""
        return max(self.flushed_end + (40 if self.half_record else 0), self.flushed_before)

    @property
    def readable_end(self) -> int:
        """Where a scan for the end of valid WAL stops, the link of its first record checked (R1 5)."""
        if self.damaged_from is not None:
            return min(self.end, self.damaged_from)
        return self.end if SCAN_CHECKS_ITS_FIRST_LINK else self.end + self.foreign_records * RECORD

    # Replay

    @property
    def replayed_end(self) -> int:
        held = bool(self.held_by) and self.world.now_us < self.held_until
        whole = min(self.end, self.readable_end)
        if self.state is PostgresState.STANDBY:
            whole = min(whole, self.flushed_end)  # the startup process gets what the receiver has flushed
        return min(self.held_at, whole) if held else whole

    def hold_replay(self, why: str, duration_us: int) -> None:
        if self.world.now_us >= self.held_until:
            self.held_by, self.held_at = why, self.end
            self.held_until = self.world.now_us + duration_us

    def resume_replay(self, *reasons: str) -> None:
        if self.held_by in reasons:
            self.held_by, self.held_until = "", 0

    # Timelines

    def newest_timeline(self) -> int:
        """Counting up from the own one while there is a history file (F1)."""
        newest = self.timeline
        while newest + 1 in self.histories:
            newest += 1
        return newest

    def look_for_target(self) -> None:
        """At a start, and whenever it looks for WAL anew; a newer one that is no child of its log is passed over, and
        one that is no child of its target: a sibling is never taken instead (E30)."""
        newest = self.newest_timeline()
        if newest == self.timeline:
            self.target = newest
        elif self.histories[newest].is_parent_of(self.timeline, self.end):
            steps = self.histories[newest].steps
            if self.target == self.timeline or any(step.timeline == self.target for step in steps):
                self.target = newest

    def refuses_to_start(self) -> str:
        """FATAL: the newest timeline is no child of this history (V2, F5)."""
        newest = self.newest_timeline()
        if newest == self.timeline or self.histories[newest].is_parent_of(self.timeline, self.end):
            return ""
        return f"requested timeline {newest} is not a child of this server's history"

    def cut(self, upto: int) -> None:
        """What lies at or above is not there any more."""
        kept = max(0, (upto - RECORD) // RECORD)
        if kept < len(self.log):
            del self.log[kept:]
            last = self.log[-1].timeline if self.log else 1
            if last != self.timeline:
                self.history = tuple(step for step in self.history if step.timeline < last)
                self.timeline = last

    # Losing and copying it

    def wipe(self) -> None:
        """A new, empty disk."""
        self.run += 1
        self.disks += 1
        self.state = PostgresState.ABSENT
        self.log, self.flushed_upto, self.oldest = [], 0, 0
        self.timeline, self.history, self.histories = 1, (), {}
        self.checkpoint_timeline = 1
        self.system_identifier, self.marker = "", ()
        self.standby_signal = self.clean = self.half_record = False
        self.flushed_before = 0
        self.slots = set()
        self.conf = Conf()
        self.damaged_from = None
        self.held_by, self.held_until = "", 0

    def begin_copy(self, *, rewind: bool) -> None:
        """From here on the directory is unusable until the copy is whole. One that is rewound has a control file all
        the while, the old one until the last: who asks it for the end of its log gets an answer."""
        self.run += 1
        self.state = PostgresState.HALF
        self.half_rewound = rewind

    def copy_from(self, source: Postgres, *, keep_files: bool, since: int = 0) -> None:
        self.oldest = source.oldest if keep_files else max(source.oldest, since)
        self.log = [entry for entry in source.log if entry.end <= source.flushed_end]
        self.flushed_upto = self.end
        own = self.histories if keep_files else {}
        real = {t: f for t, f in source.histories.items() if not f.placeholder}
        # pg_basebackup brings the file of the current timeline only, pg_rewind every real one (F8).
        self.histories = (
            {**own, **real} if keep_files else {t: f for t, f in real.items() if t == source.timeline}
        )
        for t in [t for t, f in self.histories.items() if t > source.timeline and not f.placeholder]:
            del self.histories[t]
        self.timeline, self.history = source.timeline, source.history
        self.checkpoint_timeline = source.timeline
        self.system_identifier, self.marker = source.system_identifier, source.marker
        self.state = PostgresState.STOPPED
        self.standby_signal = True
        self.clean = False
        self.slots = set()
        self.half_record = False
        self.damaged_from = None
        self.foreign_records = self.world.between(0, 6) if keep_files else 0
        self.held_by, self.held_until = "", 0

    def half_made_end(self) -> int:
        """Where a scan stops between files that were copied and files that were not."""
        return RECORD * self.world.between(1, self.end // RECORD)

    def restarted(self) -> None:
        """What does not survive the end of the server: the receive LSN, the reason why replay stood still."""
        self.half_record = self.flush_known = False
        self.flushed_before = 0
        self.held_by, self.held_until = "", 0


class Volume:
    """A disk as it lies there, with what was flushed to it; mounted again later it is that, whatever came after."""

    def __init__(self, directory: DataDirectory) -> None:
        self._log = [entry for entry in directory.log if entry.end <= directory.flushed_end]
        self._timelines = directory.timeline, directory.history, dict(directory.histories)
        self._checkpoint_timeline = directory.checkpoint_timeline
        self._claim = directory.system_identifier, directory.marker
        self._oldest = directory.oldest

    def mount(self, directory: DataDirectory) -> None:
        directory.wipe()
        directory.state = PostgresState.STOPPED
        directory.log, directory.standby_signal = list(self._log), True
        directory.flushed_upto, directory.oldest = directory.end, self._oldest
        directory.timeline, directory.history, directory.histories = self._timelines
        directory.checkpoint_timeline = self._checkpoint_timeline
        directory.system_identifier, directory.marker = self._claim
