"""PromotePostgres: the order itself, and seeing it done (protocol.md, R11; V11).

pg_promote(true) looks every 100 ms; a statement that looks every few milliseconds is done in 20 to 30.
"""

from __future__ import annotations

import asyncio

from agents.core.steps import Promoted, StepFailed
from agents.postgres.look import positions
from agents.postgres.server import Server
from agents.postgres.serving import end_clients
from common.lsn import Lsn
from common.rule import FENCE
from common.timebase import elapsed_ms

_POLL_S = 0.001
_FENCE_WITHIN_MS = 500
_FENCE = "select pg_is_in_recovery(), current_setting('synchronous_standby_names')"
_WAKE_EVERY_MS = 20
_REPLAYED = "select coalesce(pg_last_wal_replay_lsn(), '0/0')::text"
# Looks every three milliseconds, and ends with the recovery, or after 100 ms: asked for from here each time, the looking
# would take more of the processor than the promotion (a look each millisecond took 10 ms of 45, of a core that the startup
# process had begun on). Both conditions are volatile, so they are asked for each row.
_STILL_RECOVERING = """
select pg_is_in_recovery()
  from (select count(pg_sleep(0.003)) from generate_series(1, 33)
         where pg_is_in_recovery() and clock_timestamp() < statement_timestamp() + interval '100 ms') waited
"""
_BACKLOG = "select pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text"


async def await_replay(server: Server, replayed_lsn: Lsn, within_ms: int) -> bool:
    """Woken, the startup process looks again at once, and else only after wal_retrieve_retry_interval."""
    begun_at, woken_ms = server.clock.now(), -_WAKE_EVERY_MS
    while True:
        (replayed,) = await server.control.row(_REPLAYED, within_ms=server.config.sql_within_ms)
        if Lsn.parse(replayed) >= replayed_lsn:
            return True
        waited_ms = elapsed_ms(since=begun_at, now=server.clock.now())
        if waited_ms > within_ms:
            return False
        if waited_ms >= woken_ms + _WAKE_EVERY_MS:
            woken_ms = waited_ms
            await server.ask_kernel(server.wake_startup)
        await asyncio.sleep(_POLL_S)


async def promote(server: Server, within_ms: int) -> Promoted:
    """Asked again after it was done, it answers the same."""
    session, sql_within_ms = server.control, server.config.sql_within_ms
    begun_at = server.clock.now()
    while True:
        recovering, rule = await session.row(_FENCE, within_ms=sql_within_ms)
        if not recovering or rule == FENCE:
            break
        # A reload reaches each process in its own time; never promote without the fence in force (R5).
        if elapsed_ms(since=begun_at, now=server.clock.now()) > _FENCE_WITHIN_MS:
            raise StepFailed(f"the fence is not in force ({rule!r} is): not promoted")
        await asyncio.sleep(_POLL_S)
    if recovering:
        if await server.read("looking at the door", lambda: server.files.open):
            await server.write("closing the door", lambda: server.files.set_door(closed=True))
            server.reload()
        await session.run("select pg_promote(false)", within_ms=sql_within_ms)
        await end_clients(server)  # those of the standby; under the fence nothing of theirs is acknowledged
        while (await session.row(_STILL_RECOVERING, within_ms=sql_within_ms))[0]:
            if elapsed_ms(since=begun_at, now=server.clock.now()) > within_ms:
                (backlog,) = await session.row(_BACKLOG, within_ms=sql_within_ms)
                raise StepFailed(f"still in recovery after {within_ms} ms, {backlog} bytes to replay")
    seen = await positions(server, session, sql_within_ms)
    history = await server.history_of(seen.timeline)
    if not history:
        raise StepFailed(f"timeline {seen.timeline} has no history file: this was no promotion")
    return Promoted(seen.timeline, history[-1].switch_lsn)
