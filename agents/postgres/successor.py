"""AwaitSuccessor: looking at the candidate of an epoch until it is the primary and holds our slot (protocol.md, R5, R9).

One session as the replication role, which a closed door lets in; it is kept between the looks, and closed once the slot
is there or another step is performed. The candidate itself is asked to wait, by a statement that looks each millisecond:
asked for from here each time, the looking would take from the promotion what it is waiting for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import psycopg
from psycopg.conninfo import make_conninfo

from agents.core.steps import AwaitSuccessor
from agents.postgres.config import InstanceConfig
from agents.postgres.histories import parse_history
from agents.postgres.service_file import address
from agents.postgres.sql import APPLICATION_NAME, Connection, NoAnswer, Row, bounded, fetch
from common import sql_closing
from common.assignment import HistoryStep, Upstream

_CONNECT_WITHIN_S = 1.0
_ANSWER_MS = 500
"""Beyond the time that it is asked to wait for."""
# All conditions are asked for each row: volatile functions, and slots by a function in a list of columns, because the
# answer of one in FROM (as in the view) is kept for as long as the statement runs.
_LOOK = """
select not pg_is_in_recovery()
       and (%s = '' or exists (select from (select (pg_get_replication_slots()).slot_name as made offset 0) slots
                                where made = %s))
  from (select count(pg_sleep(0.001)) from generate_series(1, %s) look
         where (pg_is_in_recovery()
                or not (%s = '' or exists (select from (select (pg_get_replication_slots()).slot_name as made offset 0) slots
                                            where made = %s and look > 0)))
           and clock_timestamp() < statement_timestamp() + %s * interval '1 ms') waited
"""
_HISTORY = "select convert_from(pg_read_binary_file(%s), 'UTF8')"


class SuccessorLooks:
    def __init__(self, config: InstanceConfig) -> None:
        self._config = config
        self._session: tuple[Upstream, Connection] | None = None
        self._read: tuple[tuple[Upstream, int], tuple[HistoryStep, ...]] | None = None

    async def look(self, step: AwaitSuccessor) -> tuple[HistoryStep, ...]:
        """Raise StepFailed, or NoAnswer where it can't be reached."""
        keep = False
        try:
            connection = await self._connect(step.upstream)
            slot, within_ms = step.slot, step.within_ms
            asked = (slot, slot, within_ms, slot, slot, within_ms)
            ((there,),) = await _ask(connection, _LOOK, asked, within_ms + _ANSWER_MS)
            history = await self._history(connection, step) if there else ()
            keep = not (there and slot)
        finally:
            if not keep:
                await self.close()
        return history

    async def _history(self, connection: Connection, step: AwaitSuccessor) -> tuple[HistoryStep, ...]:
        """Kept for the look at the slot: it never changes."""
        wanted = step.upstream, step.timeline
        if self._read is None or self._read[0] != wanted:
            file = f"pg_wal/{step.timeline:08X}.history"
            ((text,),) = await _ask(connection, _HISTORY, (file,), _ANSWER_MS)
            found = parse_history(str(text))
            self._read = wanted, () if found.placeholder else found.steps
        return self._read[1]

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await sql_closing.close(session[1])

    async def _connect(self, upstream: Upstream) -> Connection:
        if self._session is not None:
            known, connection = self._session
            if known == upstream and not connection.closed:
                return connection
            await self.close()
        target = make_conninfo(
            **address(self._config, upstream), dbname="postgres", application_name=APPLICATION_NAME
        )
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                connection = await psycopg.AsyncConnection.connect(target, autocommit=True)
        except (TimeoutError, psycopg.Error) as error:
            raise NoAnswer(f"{upstream.member} takes no connection: {error}") from error
        self._session = upstream, connection
        return connection


async def _ask(
    connection: Connection, statement: str, arguments: Sequence[object], within_ms: int
) -> list[Row]:
    return await bounded(connection, fetch(connection, statement, arguments), within_ms)
