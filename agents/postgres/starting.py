"""Starting PostgreSQL, as a standby or as a primary (protocol.md, R8; V2, V5).

Nothing starts by itself: standby.signal is written before every start that is not as primary, and trailing
placeholders are removed. A start goes on for as long as it shows progress: crash recovery may take long.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from agents.core.steps import StepFailed
from agents.postgres.files import remove_durably, replace_durably
from agents.postgres.histories import remove, trailing_placeholders
from agents.postgres.look import is_anything_left, positions, read_directory
from agents.postgres.postmaster import Postmaster, last_words, log_size, read_pid_file
from agents.postgres.processes import children, cpu_ticks
from agents.postgres.server import Server
from agents.postgres.settings import include_last, purge_auto_conf
from agents.postgres.sql import NoAnswer
from agents.postgres.wal_beginning import remove_what_was_cut_short
from common.lsn import Lsn
from common.timebase import elapsed_ms

_LOOK_EVERY_S = 0.002
_READY = "ready"
_REPLAYED = "select coalesce(pg_last_wal_replay_lsn(), '0/0')::text"
_IDLE_TICKS_PER_S = 0.5


async def start_standby(server: Server) -> None:
    await _start(server, as_primary=False)


async def start_primary(server: Server) -> None:
    """Closed, whatever the door was: it opens by reason (b) alone (R8)."""
    await _start(server, as_primary=True)


async def replay(server: Server, end_lsn: Lsn) -> None:
    """As a standby without upstream, until all that it has, up to `end_lsn`, is replayed. Nothing must run.

    That it takes SQL says too little: of one that crashed after its promotion and before a checkpoint, PostgreSQL
    calls that consistent which was replayed up to the promotion. It may also take none: locks of transactions that
    were open when it died keep everybody out, and above too many subtransactions of theirs it does not open. So one
    that stands still is left at that; how far it came is to be read from the control file, once it is stopped.
    """
    words_from = log_size(server.config)
    postmaster = await _spawn(server, as_primary=False)

    async def is_replayed() -> bool:
        (replayed,) = await server.control.row(_REPLAYED, within_ms=server.config.sql_within_ms)
        return Lsn.parse(replayed) >= end_lsn

    try:
        await _until(server, postmaster, words_from, is_replayed)
    except StepFailed:
        if not postmaster.alive:
            raise


async def _start(server: Server, *, as_primary: bool) -> None:
    words_from = log_size(server.config)
    postmaster = await server.find()
    if postmaster is None:
        postmaster = await _spawn(server, as_primary=as_primary)
    elif as_primary is await server.read("looking at standby.signal", partial(_has_signal, server)):
        raise StepFailed("PostgreSQL runs already, in the other role")

    async def takes_sql() -> bool:
        await server.control.connect(server.config.sql_within_ms)
        return True

    await _until(server, postmaster, words_from, takes_sql)
    seen = await positions(server, server.control, server.config.sql_within_ms)
    await server.watching.connect(server.config.sql_within_ms)
    if seen.recovering is as_primary:
        raise StepFailed(f"PostgreSQL came up {'in' if as_primary else 'out of'} recovery")


async def _spawn(server: Server, *, as_primary: bool) -> Postmaster:
    notices = await server.write("preparing the start", partial(_prepare, server, as_primary=as_primary))
    for text in notices:
        server.notice(text)
    return server.spawn()


def _has_signal(server: Server) -> bool:
    return (server.config.data_directory / "standby.signal").exists()


def _prepare(server: Server, *, as_primary: bool) -> list[str]:
    """Everything that must be durable before the postmaster runs; answers what people should know. Blocking."""
    notices = []
    config = server.config
    data = config.data_directory
    directory = read_directory(server)
    if directory.state is not None:
        raise StepFailed(f"there is no usable data directory in {data}: it is {directory.state}")
    if is_anything_left(config, directory.pid_file):
        raise StepFailed("processes or shared memory of the PostgreSQL before are left; stop it first")
    if not server.files.there:
        raise StepFailed("there are no settings yet: they are written before the first start")
    if as_primary:
        server.files.set_door(closed=True)
        remove_durably(data / "standby.signal")
    else:
        replace_durably(data / "standby.signal", b"", config.run_as)
        control = server.control_file.read()
        remove(config.wal_directory, trailing_placeholders(config.wal_directory, control.timeline))
        for path in remove_what_was_cut_short(
            config.wal_directory, timeline=control.timeline, segment_bytes=control.segment_bytes
        ):
            notices.append(
                f"{path.name} had not come whole when it stopped; it was removed, and is received again"
            )
    for leftover in ("recovery.signal", "postmaster.pid"):
        # Nothing of it runs: a pid in it can only be of a stranger, beside which PostgreSQL would not start.
        remove_durably(data / leftover)
    include_last(data, config.settings_file, config.run_as)
    if not config.socket_directory.exists():
        config.socket_directory.mkdir(mode=0o700, parents=True)
        if config.run_as is not None:
            os.chown(config.socket_directory, config.run_as.uid, config.run_as.gid)
    (config.socket_directory / f".s.PGSQL.{config.port}.lock").unlink(missing_ok=True)
    notices += [
        f"{name} was set in postgresql.auto.conf; the agent owns it and removed it there"
        for name in purge_auto_conf(data, config.run_as)
    ]
    return notices


async def _until(
    server: Server, postmaster: Postmaster, words_from: int, is_done: Callable[[], Awaitable[bool]]
) -> None:
    """Asked once it says that it is ready. Raise StepFailed when it dies, or stands still."""
    config = server.config
    begun_at = progress_at = server.clock.now()
    progress = _progress(server, postmaster)
    while True:
        if not postmaster.alive:
            raise StepFailed(f"PostgreSQL did not start: {last_words(config, words_from)}")
        found = await server.read("reading postmaster.pid", partial(read_pid_file, config.data_directory))
        if found is not None and found.pid == postmaster.pid and found.status == _READY:
            with suppress(NoAnswer):
                if await is_done():
                    return
        now = server.clock.now()
        silent_ms = elapsed_ms(since=progress_at, now=now)
        seen = _progress(server, postmaster)
        if seen.titles != progress.titles or (
            silent_ms > config.start_silent_ms and seen.works_since(progress, silent_ms)
        ):
            progress, progress_at, silent_ms = seen, now, 0
        if silent_ms > config.start_silent_ms or elapsed_ms(since=begun_at, now=now) > config.start_within_ms:
            raise StepFailed(
                f"PostgreSQL runs but takes no SQL yet ({found.status if found else 'no postmaster.pid'}), "
                f"without progress for {silent_ms} ms: {last_words(config, words_from)}"
            )
        await asyncio.sleep(_LOOK_EVERY_S)


@dataclass(frozen=True, slots=True)
class _Progress:
    """Of recovery: the startup process's title names the segment, and it uses the CPU."""

    titles: tuple[tuple[int, str], ...]
    cpu_ticks: int

    def works_since(self, before: _Progress, silent_ms: int) -> bool:
        """One that has nothing left to replay looks for more every 100 ms, which costs some ticks too (2 in 15 s on
        the machine where that was measured): they took a start that would never end for one that works."""
        return self.cpu_ticks - before.cpu_ticks > silent_ms * _IDLE_TICKS_PER_S / 1000


def _progress(server: Server, postmaster: Postmaster) -> _Progress:
    startup = [child for child in children(postmaster.pid, server.config.title) if child.is_startup]
    return _Progress(
        tuple((child.pid, child.title) for child in startup), sum(cpu_ticks(child.pid) for child in startup)
    )
