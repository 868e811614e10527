"""The small SQL steps of a serving primary: commits, rules, walsenders, client sessions."""

from __future__ import annotations

import asyncio

from agents.core.steps import Walsender
from agents.postgres.look import lsn
from agents.postgres.server import Server
from agents.postgres.sql import APPLICATION_NAME, Session
from common.lsn import ZERO, Lsn
from common.timebase import elapsed_ms

_POLL_S = 0.001
_COMMIT = "select pg_logical_emit_message(true, 'primacy', '')"
_FLUSHED = "select pg_current_wal_flush_lsn()::text"
_INSERTED = "select pg_current_wal_insert_lsn()::text"
_RULE = "select current_setting('synchronous_standby_names')"
_WAITS = "select wait_event = 'SyncRep' from pg_stat_activity where pid = %s"
_WALSENDERS = """
select pid, application_name, state = 'streaming', flush_lsn::text from pg_stat_replication order by pid
"""
_END_WALSENDER = """
select pg_terminate_backend(pid) from pg_stat_activity where pid = %s and backend_type = 'walsender'
"""
_END_CLIENTS = """
select pg_terminate_backend(pid) from pg_stat_activity
 where backend_type = 'client backend' and application_name <> %s and usename is distinct from %s
"""
_RESUME = """
select case when pg_is_in_recovery() and pg_is_wal_replay_paused() then pg_wal_replay_resume() end
"""


async def local_commit(server: Server) -> Lsn:
    """A flush position at or past the commit's end: what has it has the commit (V10)."""
    within_ms = server.config.sql_within_ms
    await server.control.run(_COMMIT, within_ms=within_ms)
    (flushed,) = await server.control.row(_FLUSHED, within_ms=within_ms)
    return Lsn.parse(flushed)


async def checkpoint(server: Server, within_ms: int) -> None:
    """In a session of its own: given up, it leaves the warm one as it was."""
    session = Session(server.config)
    try:
        await session.run("checkpoint", within_ms=within_ms)
    finally:
        await session.close()


async def insert_position(server: Server) -> Lsn:
    (inserted,) = await server.control.row(_INSERTED, within_ms=server.config.sql_within_ms)
    return Lsn.parse(inserted)


async def see_rule(server: Server, *, new_session: bool) -> str:
    """One that was there before may not have taken the reload yet; a new one inherits it from the postmaster."""
    if not new_session:
        (rule,) = await server.control.row(_RULE, within_ms=server.config.sql_within_ms)
        return str(rule)
    session = Session(server.config)
    try:
        (rule,) = await session.row(_RULE, within_ms=server.config.sql_within_ms)
        return str(rule)
    finally:
        await session.close()


async def see_commit_wait(server: Server, within_ms: int) -> bool:
    """The commit is never cancelled: its session ends by itself once its wait is over."""
    session = Session(server.config, synchronous_commit="on")
    commit = await session.begin(_COMMIT, within_ms=server.config.sql_within_ms)
    begun_at = server.clock.now()
    try:
        while not commit.done:
            rows = await server.control.rows(_WAITS, (commit.pid,), within_ms=server.config.sql_within_ms)
            if rows and rows[0][0]:
                return True
            if elapsed_ms(since=begun_at, now=server.clock.now()) > within_ms:
                return False
            await asyncio.sleep(_POLL_S)
        return False
    finally:
        await commit.abandon()


async def list_walsenders(server: Server) -> tuple[Walsender, ...]:
    rows = await server.control.rows(_WALSENDERS, within_ms=server.config.sql_within_ms)
    return tuple(
        Walsender(pid, name, streaming, lsn(flushed) or ZERO) for pid, name, streaming, flushed in rows
    )


async def end_walsender(server: Server, pid: int) -> None:
    await server.control.run(_END_WALSENDER, (pid,), within_ms=server.config.sql_within_ms)


async def end_clients(server: Server) -> None:
    """The agent's own and the probe's stay: they hold nothing up."""
    within_ms = server.config.sql_within_ms
    await server.control.run(_END_CLIENTS, (APPLICATION_NAME, server.config.probe_user), within_ms=within_ms)


async def resume_replay(server: Server) -> None:
    """Not once a promotion is signalled: PostgreSQL refuses that, and ends the pause by itself."""
    await server.control.run(_RESUME, within_ms=server.config.sql_within_ms)
