"""Look: what the instance is at this moment. One read of small files, and one SQL statement when it runs."""

from __future__ import annotations

from dataclasses import dataclass

from agents.core.steps import Sight
from agents.postgres.config import InstanceConfig
from agents.postgres.control_file import ControlData
from agents.postgres.marker import Marker, belongs_to, is_half_made, read_marker
from agents.postgres.postmaster import PidFile, read_pid_file
from agents.postgres.processes import processes_of
from agents.postgres.server import Server
from agents.postgres.sql import NoAnswer, Session
from common.facts import PostgresState
from common.lsn import Lsn

_POSITIONS = """
select s.recovering,
       case when s.recovering then pg_last_wal_receive_lsn() else pg_current_wal_flush_lsn() end::text,
       case when s.recovering then pg_last_wal_replay_lsn() end::text,
       case when s.recovering then null else pg_current_wal_insert_lsn() end::text,
       case when s.recovering then null else pg_walfile_name(pg_current_wal_lsn()) end,
       greatest(c.timeline_id, r.min_recovery_end_timeline, (select received_tli from pg_stat_wal_receiver))
  from (select pg_is_in_recovery() as recovering) s, pg_control_checkpoint() c, pg_control_recovery() r
"""


@dataclass(frozen=True, slots=True)
class Positions:
    recovering: bool
    flushed_lsn: Lsn | None
    replayed_lsn: Lsn | None
    insert_lsn: Lsn | None
    timeline: int


async def positions(server: Server, session: Session, within_ms: int) -> Positions:
    """Raise NoAnswer. What it sees of a primary is remembered."""
    found = await session.row(_POSITIONS, within_ms=within_ms)
    recovering, flushed, replayed, insert, segment, timeline = found
    if not recovering:
        timeline = int(segment[:8], 16)
        server.saw_primary(Lsn.parse(insert), timeline)
    return Positions(recovering, lsn(flushed), lsn(replayed), lsn(insert), timeline)


def lsn(text: str | None) -> Lsn | None:
    return None if text is None else Lsn.parse(text)


@dataclass(frozen=True, slots=True)
class Directory:
    """What lies on the disk, but for PostgreSQL's own state."""

    state: PostgresState | None
    """ABSENT or HALF; None when the data directory is usable."""
    marker: Marker | None
    standby_signal: bool
    pid_file: PidFile | None
    settings_rule: str | None
    settings_upstream: str
    settings_address: str
    open: bool
    identity: ControlData | None
    """Of a usable one; only what never changes is to be read from it."""


def read_directory(server: Server) -> Directory:
    """Blocking."""
    config = server.config
    data = config.data_directory
    marker = read_marker(data)
    state = None
    if not data.is_dir() or not any(data.iterdir()) or (marker is not None and marker.half == "initdb"):
        state = PostgresState.ABSENT
    elif (
        is_half_made(config, marker)
        or not (data / "PG_VERSION").exists()
        or not (data / "global" / "pg_control").exists()
    ):
        state = PostgresState.HALF
    rule, upstream = server.files.rule_and_upstream()
    return Directory(
        state,
        marker,
        (data / "standby.signal").exists(),
        read_pid_file(data),
        rule,
        upstream,
        server.files.upstream_address(),
        server.files.open,
        server.control_file.identity() if state is None else None,
    )


def is_anything_left(config: InstanceConfig, pid_file: PidFile | None) -> bool:
    """Whether a process or attached shared memory of a PostgreSQL without postmaster is left. Blocking."""
    if processes_of(config.data_directory):
        return True
    memory = None if pid_file is None else pid_file.shared_memory
    return memory is not None and memory.is_attached()


async def look(server: Server) -> Sight:
    config = server.config
    directory = await server.read("looking at the data directory", lambda: read_directory(server))
    rule, upstream = directory.settings_rule, directory.settings_upstream
    if directory.state is not None or directory.identity is None:
        state = directory.state or PostgresState.UNKNOWN
        owner = belongs_to(config, directory.marker)
        return Sight(state, belongs_to=owner, settings_rule=rule, settings_upstream=upstream)
    postmaster = await server.find()
    seen: Positions | None = None
    control = directory.identity
    if postmaster is None:
        left = await server.ask_kernel(lambda: is_anything_left(config, directory.pid_file))
        state = PostgresState.DYING if left else PostgresState.STOPPED
        control = await server.control_data()
    else:
        state, seen = await _of_running(server, directory.pid_file)
    timeline = control.timeline if seen is None else seen.timeline
    stopped = state is PostgresState.STOPPED
    return Sight(
        postgres=state,
        system_identifier=control.system_identifier,
        marker_matches=_marker_matches(server, directory.marker),
        timeline=timeline,
        history=await server.history_of(timeline),
        flushed_lsn=None if seen is None else seen.flushed_lsn,
        replayed_lsn=None if seen is None else seen.replayed_lsn,
        clean_shutdown=stopped and control.clean_shutdown,
        was_primary=not directory.standby_signal,
        settings_rule=rule,
        settings_upstream=upstream,
        settings_address=directory.settings_address,
    )


async def _of_running(server: Server, pid_file: PidFile | None) -> tuple[PostgresState, Positions | None]:
    """One that takes no SQL, for whatever reason, counts as STARTING: nothing of it can be known."""
    status = "" if pid_file is None else pid_file.status
    if status == "stopping":
        return PostgresState.DYING, None
    if status != "ready":
        return PostgresState.STARTING, None
    try:
        seen = await positions(server, server.control, server.config.sql_within_ms)
    except NoAnswer:
        return PostgresState.STARTING, None
    return (PostgresState.STANDBY if seen.recovering else PostgresState.PRIMARY), seen


def _marker_matches(server: Server, marker: Marker | None) -> bool:
    config = server.config
    return marker is not None and (marker.cluster, marker.member, marker.incarnation) == (
        config.cluster,
        config.member,
        server.incarnation(),
    )
