"""Making and rebuilding a data directory: initdb, pg_basebackup, pg_rewind (protocol.md, R9, R13).

The new content is made in a subdirectory and moved up, beside a marker that says what is under way, until
WriteMarker replaces it: cut short anywhere, the directory is recognised as half-made by whoever finds it. The
directory itself is never replaced, because the lock is on it.
"""

from __future__ import annotations

import os
import re
import shutil
from functools import partial
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from agents.core.steps import StepFailed, Untouched
from agents.postgres import marker
from agents.postgres.control_file import ControlData
from agents.postgres.end_of_wal import end_lsn_of
from agents.postgres.files import read_text, sync_directory, write_synced
from agents.postgres.look import read_directory
from agents.postgres.oldest_wal import missing_wal
from agents.postgres.programs import run_program
from agents.postgres.server import Server
from agents.postgres.service_file import address
from agents.postgres.settings import without_sample
from agents.postgres.sql import NoAnswer, bounded, fetch
from agents.postgres.starting import replay
from agents.postgres.stopping import stop
from agents.postgres.wal_pages import chain_of
from common import sql_closing
from common.assignment import Upstream
from common.facts import PostgresState
from common.lsn import Lsn

_NEW = "primacy-new"
_EMPTY_WITHIN_MS = 600_000
_CHECKPOINT_WITHIN_MS = 120_000
_STOP_WITHIN_MS = 60_000
_LOOK_WITHIN_MS = 600_000
"""Its whole directory was written and flushed just before."""
_REPLAYS = 2
"""A stop that makes a restart point need not note how far was replayed; the next one, which can't make another, does.
"""
_START = re.compile(r"^START WAL LOCATION: (\S+) ", re.MULTILINE)
_PERCENT = re.compile(r"\((\d+)%\)")


async def initdb(server: Server) -> str:
    """Answers the system identifier. An initdb of ours that was cut short is begun anew."""
    config = server.config
    directory = await server.read("looking at the data directory", partial(read_directory, server))
    if directory.state is not PostgresState.ABSENT:
        raise StepFailed(f"{config.data_directory} is not empty: nothing was done")
    await _begin(server, "initdb")
    options = [
        f"--username={config.superuser}",
        "--data-checksums",
        "--encoding=UTF8",
        "--auth-local=peer",
        "--auth-host=scram-sha-256",
        "--no-instructions",
    ]
    # C.UTF-8 sorts the same on every host; where the system has none, plain C does.
    for locale in ("C.UTF-8", "C"):
        try:
            new = config.data_directory / _NEW
            await run_program(
                config, "initdb", ["-D", new, f"--locale={locale}", *options], config.clone_silent_ms
            )
            break
        except StepFailed as failure:
            if locale == "C" or "locale" not in str(failure):
                raise
    await server.write("shortening postgresql.conf", partial(_without_sample, server))
    await _move_up(server)
    return (await server.control_data()).system_identifier


def _without_sample(server: Server) -> None:
    path = server.config.data_directory / _NEW / "postgresql.conf"
    write_synced(path, without_sample(read_text(path) or "").encode(), server.config.run_as)


async def clone(server: Server, upstream: Upstream) -> None:
    config = server.config
    await _must_stand_still(server)
    await _ask_source(server, upstream)
    await _begin(server, "clone")
    said = f"cloning from {upstream.member}"
    server.activity = said

    def progress(text: str) -> None:
        found = _PERCENT.search(text)
        server.activity = f"{said}, {found[1]} %" if found else said

    try:
        source = make_conninfo(**address(config, upstream))
        where: list[str | Path] = ["-D", config.data_directory / _NEW, "-d", source]
        how = ["-X", "stream", "-c", "fast", "--no-password", "--progress"]
        await run_program(config, "pg_basebackup", [*where, *how], config.clone_silent_ms, progress)
        await _move_up(server)
    finally:
        server.activity = ""


async def rewind(server: Server, upstream: Upstream) -> None:
    config = server.config
    await _must_stand_still(server)
    directory = await server.read("looking at the data directory", partial(read_directory, server))
    if directory.state is not None:
        raise StepFailed(f"the data directory is {directory.state}: a rewind needs a whole one")
    server.activity = f"rewinding to {upstream.member}: its own WAL is replayed first"
    try:
        await _replay_everything(server)
        server.activity = f"rewinding to {upstream.member}"
        # Right after a promotion, pg_rewind of 15 sees only the checkpoint before it (E10).
        await _ask_source(server, upstream, "checkpoint" if server.version.major <= 15 else "select 1")
        await _rewind_once(server, upstream, dry=True)
        # pg_rewind replaces our marker by the source's, which is a sign as good as this one.
        half = partial(marker.write_marker, config, marker.half_marker(config, "rewind"))
        await server.write("marking the rewind", half)
        await _rewind_once(server, upstream, dry=False)
        if not (config.data_directory / "backup_label").exists():
            # "No rewind required" is said where it is wrong, too (E10, E10b), and read from no message.
            raise StepFailed("pg_rewind found nothing to do, but the member has diverged")
        await _must_have_its_wal(server)
    finally:
        server.activity = ""
        server.forget_directory()


async def _must_have_its_wal(server: Server) -> None:
    """It replays from the last common checkpoint up to where the source was; all segments that the source had were copied.
    One that was removed there before can't be had from it, and it would ask for it for ever."""
    lacking = await server.scanning.run(
        "looking for the WAL of a rewound member",
        _LOOK_WITHIN_MS,
        partial(_first_that_lacks, server, await _ends(server)),
    )
    if lacking is not None:
        raise StepFailed(f"the source has no WAL any more from {lacking} on, which a rewound member needs")


async def _ends(server: Server) -> ControlData:
    server.forget_directory()
    return await server.control_data()


def _first_that_lacks(server: Server, control: ControlData) -> Lsn | None:
    """By `backup_label`, which pg_rewind writes, and the end of the source's WAL, which it notes in the control file."""
    config = server.config
    found = _START.search(read_text(config.data_directory / "backup_label") or "")
    if found is None:
        return None  # it says nothing of where it starts: a start shows whether it does
    chain = chain_of(config.wal_directory, control.minimum_recovery_timeline)
    start_lsn, end_lsn = Lsn.parse(found[1]), control.minimum_recovery_lsn
    return missing_wal(config.wal_directory, chain, start_lsn, end_lsn, control.segment_bytes)


async def _rewind_once(server: Server, upstream: Upstream, *, dry: bool) -> None:
    """A dry run does all but write: it connects, compares the timelines, lists the source's files and reads the WAL
    here. What fails in it has touched nothing, and pg_rewind's own words don't have to be trusted for that.
    """
    config = server.config
    name = "pg_rewind --dry-run" if dry else "pg_rewind"
    source = make_conninfo(**address(config, upstream), dbname="postgres", fallback_application_name=name)
    arguments: list[str | Path] = ["-D", config.data_directory, "--source-server", source]
    how = ["--no-ensure-shutdown", "--progress", *(["--dry-run"] if dry else [])]
    try:
        await run_program(config, "pg_rewind", [*arguments, *how], config.rewind_silent_ms)
    except StepFailed:
        if dry:
            await _ask_source(server, upstream)  # if it was away, it may be back soon
        raise


async def _replay_everything(server: Server) -> None:
    """pg_rewind wants a clean stop, and takes back the pages that WAL up to the control file's minimum recovery
    point names. One that stopped before it had replayed all of its WAL has pages from above that point on its disk
    all the same, if it was a primary: they would stay, and rows that everybody else has be missing here.
    """
    end_lsn = await end_lsn_of(server)
    for _ in range(_REPLAYS):
        control = await server.control_data()
        if control.state == "shut down" or (
            control.clean_shutdown and control.minimum_recovery_lsn >= end_lsn
        ):
            return
        # As a standby, which writes no WAL of its own.
        try:
            await replay(server, end_lsn)
        except StepFailed:
            await stop(server, clean=False, clean_within_ms=0)  # a clone comes next, which needs it stopped
            raise
        await stop(server, clean=True, clean_within_ms=_STOP_WITHIN_MS)
    control = await server.control_data()
    if not control.clean_shutdown or control.minimum_recovery_lsn < end_lsn:
        raise StepFailed(
            f"its WAL ends at {end_lsn}, but after its recovery it is {control.state} at "
            f"{control.minimum_recovery_lsn}: it can't be rewound"
        )


async def write_marker(server: Server, mark: marker.Marker) -> None:
    await server.write("writing the marker", partial(marker.write_marker, server.config, mark))


async def _must_stand_still(server: Server) -> None:
    if await server.find() is not None:
        raise StepFailed("PostgreSQL runs: its directory can't be replaced")


async def _begin(server: Server, what: str) -> None:
    """Empty the directory, but for a marker that says what is under way."""
    await server.writing.run("emptying the data directory", _EMPTY_WITHIN_MS, partial(_empty, server, what))
    server.forget_directory()


def _empty(server: Server, what: str) -> None:
    config = server.config
    data = config.data_directory
    wal = config.wal_directory
    if wal.is_symlink():
        raise StepFailed(f"{wal} is a symbolic link, which is not supported for cloning: clone by hand")
    mark = marker.half_marker(config, what)
    # Marked first: cut short here, it is no longer taken for a whole one.
    marker.write_marker(config, mark)
    for entry in data.iterdir():
        if entry.name == marker.NAME:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    os.chmod(data, 0o700)
    sync_directory(data)


async def _move_up(server: Server) -> None:
    await server.writing.run("moving the new data up", _EMPTY_WITHIN_MS, partial(_move, server))
    server.forget_directory()


def _move(server: Server) -> None:
    data = server.config.data_directory
    new = data / _NEW
    for entry in new.iterdir():
        if entry.name == marker.NAME:
            entry.unlink()  # the source's
        else:
            entry.rename(data / entry.name)
    new.rmdir()
    sync_directory(data)


async def _ask_source(server: Server, upstream: Upstream, statement: str = "select 1") -> None:
    """Before anything is thrown away: one that can't be reached now may be reached later. Raise Untouched."""
    target = make_conninfo(**{**address(server.config, upstream), "connect_timeout": "5"}, dbname="postgres")
    try:
        connection = await psycopg.AsyncConnection.connect(target, autocommit=True)
    except psycopg.Error as error:
        raise Untouched(f"{upstream.member} takes no connection: {error}") from error
    try:
        await bounded(connection, fetch(connection, statement, ()), _CHECKPOINT_WITHIN_MS)
    except NoAnswer as failure:
        if failure.timed_out:
            raise
        raise Untouched(f"{upstream.member}: {failure}") from failure
    finally:
        await sql_closing.close(connection)
