"""Starting PostgreSQL, as a standby or as a primary (protocol.md, R8; V2, V5).

Nothing starts by itself: standby.signal is written before every start that is not as primary, and trailing
placeholders are removed. A start goes on for as long as it shows progress: crash recovery may take long.
"""

from __future__ import annotations

import asyncio
import os
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
from common.timebase import elapsed_ms

_LOOK_EVERY_S = 0.002
_READY = "ready"


async def start_standby(server: Server) -> None:
    await _start(server, as_primary=False)


async def start_primary(server: Server) -> None:
    """Closed, whatever the door was: it opens by reason (b) alone (R8)."""
    await _start(server, as_primary=True)


async def _start(server: Server, *, as_primary: bool) -> None:
    words_from = log_size(server.config)
    postmaster = await server.find()
    if postmaster is None:
        removed = await server.write("preparing the start", partial(_prepare, server, as_primary=as_primary))
        for name in removed:
            server.notice(f"{name} was set in postgresql.auto.conf; the agent owns it and removed it there")
        postmaster = server.spawn()
    elif as_primary is await server.read("looking at standby.signal", partial(_has_signal, server)):
        raise StepFailed("PostgreSQL runs already, in the other role")
    await _until_it_takes_sql(server, postmaster, words_from)
    seen = await positions(server, server.control, server.config.sql_within_ms)
    await server.watching.connect(server.config.sql_within_ms)
    if seen.recovering is as_primary:
        raise StepFailed(f"PostgreSQL came up {'in' if as_primary else 'out of'} recovery")


def _has_signal(server: Server) -> bool:
    return (server.config.data_directory / "standby.signal").exists()


def _prepare(server: Server, *, as_primary: bool) -> list[str]:
    """Everything that must be durable before the postmaster runs. Blocking."""
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
    for leftover in ("recovery.signal", "postmaster.pid"):
        # Nothing of it runs: a pid in it can only be of a stranger, beside which PostgreSQL would not start.
        remove_durably(data / leftover)
    include_last(data, config.settings_file, config.run_as)
    if not config.socket_directory.exists():
        config.socket_directory.mkdir(mode=0o700, parents=True)
        if config.run_as is not None:
            os.chown(config.socket_directory, config.run_as.uid, config.run_as.gid)
    (config.socket_directory / f".s.PGSQL.{config.port}.lock").unlink(missing_ok=True)
    return purge_auto_conf(data, config.run_as)


async def _until_it_takes_sql(server: Server, postmaster: Postmaster, words_from: int) -> None:
    config = server.config
    begun_at = progress_at = server.clock.now()
    progress: object = None
    while True:
        if not postmaster.alive:
            raise StepFailed(f"PostgreSQL did not start: {last_words(config, words_from)}")
        found = await server.read("reading postmaster.pid", partial(read_pid_file, config.data_directory))
        if found is not None and found.pid == postmaster.pid and found.status == _READY:
            try:
                await server.control.connect(config.sql_within_ms)
                return
            except NoAnswer:
                await asyncio.sleep(_LOOK_EVERY_S)
        now = server.clock.now()
        seen = _progress(server, postmaster)
        if seen != progress:
            progress, progress_at = seen, now
        silent_ms = elapsed_ms(since=progress_at, now=now)
        if silent_ms > config.start_silent_ms or elapsed_ms(since=begun_at, now=now) > config.start_within_ms:
            raise StepFailed(
                f"PostgreSQL runs but takes no SQL yet ({found.status if found else 'no postmaster.pid'}), "
                f"without progress for {silent_ms} ms: {last_words(config, words_from)}"
            )
        await asyncio.sleep(_LOOK_EVERY_S)


def _progress(server: Server, postmaster: Postmaster) -> object:
    """Moves while recovery works: the startup process's title names the segment, and it uses the CPU."""
    return [
        (child.pid, child.title, cpu_ticks(child.pid))
        for child in children(postmaster.pid, server.config.title)
        if child.is_startup
    ]
