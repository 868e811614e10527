"""What a failover does first in its life, done once before it: on a standby, where nothing comes of it.

PostgreSQL's backends read the catalogs for each statement that they see for the first time, and Python runs new code
slowly; a standby may run for months, and each step of its promotion is one that it has never made. So each warm session
is shown its statements, unexecuted, and what only reads is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from agents.core.steps import StepFailed
from agents.postgres.end_of_wal import measure_end
from agents.postgres.histories import list_histories
from agents.postgres.processes import children
from agents.postgres.promotion import promotion_statements
from agents.postgres.server import Server
from agents.postgres.serving import serving_statements
from agents.postgres.slots import slot_statements
from agents.postgres.sql import Session

_TIMES = 3
_BACKLOG_BYTES_MAX = 1 << 20
"""The end of WAL is scanned from where replay is: not for a rehearsal if that is far behind."""


class Rehearsal:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._rehearsed_pid: int | None = None

    async def once(self, replay_backlog_bytes: int) -> None:
        """Of a standby that is at rest; once for each session that is kept warm. Never raises."""
        server = self._server
        if server.control.pid is None or server.control.pid == self._rehearsed_pid:
            return
        with suppress(StepFailed):
            statements = (*promotion_statements(), *serving_statements(), *slot_statements())
            await show(server.control, statements, within_ms=server.config.sql_within_ms)
        self._rehearsed_pid = server.control.pid
        if replay_backlog_bytes > _BACKLOG_BYTES_MAX:
            return
        for _ in range(_TIMES):
            with suppress(StepFailed):
                await self._look_everywhere()

    async def _look_everywhere(self) -> None:
        server = self._server
        await measure_end(server)
        await server.read("reading history files", partial(list_histories, server.config.wal_directory, 0))
        postmaster = server.postmaster
        if postmaster is not None:
            await server.ask_kernel(partial(children, postmaster.pid, server.config.title))


async def show(session: Session, statements: Sequence[str], *, within_ms: int) -> None:
    """Let the session read all that it needs for them. None is executed: EXPLAIN plans, and every function that does
    something is volatile, which planning never calls (PostgreSQL manual, 38.7). Raise StepFailed."""
    for statement in statements:
        await session.run(f"explain {statement}", within_ms=within_ms)
