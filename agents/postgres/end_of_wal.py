"""MeasureEnd and Reached: where this member's log ends (protocol.md, R1 (4), (5), R3)."""

from __future__ import annotations

from functools import partial

from agents.core.steps import EndOfWal, StepFailed
from agents.postgres.look import is_anything_left, lsn
from agents.postgres.postmaster import read_pid_file
from agents.postgres.server import Server
from agents.postgres.wal_end import WalEnd, find_end
from agents.postgres.wal_sync import sync_wal
from common.assignment import Position
from common.lsn import Lsn

_SCAN_WITHIN_MS = 600_000
_FROM_A_STANDBY = """
select pg_is_in_recovery(), pg_last_wal_receive_lsn()::text,
       coalesce(pg_last_wal_replay_lsn(), c.redo_lsn)::text,
       greatest(c.timeline_id, r.min_recovery_end_timeline)
  from pg_control_checkpoint() c, pg_control_recovery() r
"""


async def measure_end(server: Server) -> EndOfWal:
    """What it says of a stopped server is on disk."""
    found, flushed_lsn = await _scan(server, durably=True)
    return EndOfWal(found.timeline, found.end_lsn, flushed_lsn, found.next_record_would_end_lsn)


async def end_lsn_of(server: Server) -> Lsn:
    """Where the log of a stopped one ends."""
    found, _ = await _scan(server)
    return found.end_lsn


async def reached(server: Server, position: Position) -> bool:
    found, _ = await _scan(server)
    return Position(found.timeline, found.end_lsn) >= position


async def _scan(server: Server, *, durably: bool = False) -> tuple[WalEnd, Lsn | None]:
    """From the replay LSN of a running standby (all below is valid), or the redo LSN of a stopped one."""
    config = server.config
    identity = await server.identity()
    flushed_lsn: Lsn | None = None
    running = await server.find() is not None
    clean = False
    if running:
        row = await server.control.row(_FROM_A_STANDBY, within_ms=config.sql_within_ms)
        recovering, flushed, replayed, timeline = row
        if not recovering:
            raise StepFailed("a primary's end can be measured only once it stands still")
        start_lsn = Lsn.parse(replayed)
        flushed_lsn = _known(lsn(flushed), identity.segment_bytes)
    else:
        pid_file = await server.read("reading postmaster.pid", partial(read_pid_file, config.data_directory))
        if await server.ask_kernel(partial(is_anything_left, config, pid_file)):
            raise StepFailed("processes of PostgreSQL are left: its end can't be measured yet")
        control = await server.control_data()
        start_lsn, timeline = control.redo_lsn, control.timeline
        clean = control.clean_shutdown
    scan = partial(
        find_end,
        config.wal_directory,
        start_lsn=start_lsn,
        timeline=timeline,
        segment_bytes=identity.segment_bytes,
        system_identifier=identity.system_identifier,
    )
    found = await server.scanning.run("scanning the end of WAL", _SCAN_WITHIN_MS, scan)
    if durably and not running and not clean:
        sync = partial(
            sync_wal, config.wal_directory, end_lsn=found.end_lsn, segment_bytes=identity.segment_bytes
        )
        await server.scanning.run("making durable what was scanned", _SCAN_WITHIN_MS, sync)
    return found, flushed_lsn


def _known(flushed_lsn: Lsn | None, segment_bytes: int) -> Lsn | None:
    """A segment's start is what it says after a restart, whatever was flushed before: not known (E5)."""
    return None if flushed_lsn is None or flushed_lsn % segment_bytes == 0 else flushed_lsn
