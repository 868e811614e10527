"""A warm SQL connection over the local socket, whose every statement has a deadline.

psycopg's own cancellation waits up to ten seconds for a server that does not answer (tech.md §7): here a
statement runs in a task of its own, and at the deadline, or when we are cancelled, its socket is cut. The
next statement connects anew. A session may be closed under a statement, which then hears NoAnswer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo

from agents.core.steps import StepFailed
from agents.postgres.config import InstanceConfig
from common import sql_closing

T = TypeVar("T")
Row = tuple[Any, ...]
Connection = psycopg.AsyncConnection[Row]
APPLICATION_NAME = "primacy_agent"


class NoAnswer(StepFailed):
    """PostgreSQL did not answer in time, or the connection broke: nothing is known of the statement."""

    def __init__(self, words: str, *, timed_out: bool = False) -> None:
        super().__init__(words)
        self.timed_out = timed_out


class Session:
    """Local commits by default: no statement of the agent waits for a standby unless it says so."""

    def __init__(self, config: InstanceConfig, *, synchronous_commit: str = "local") -> None:
        self._conninfo = make_conninfo(
            host=str(config.socket_directory),
            port=config.port,
            user=config.superuser,
            dbname="postgres",
            application_name=APPLICATION_NAME,
            connect_timeout=10,
            options=f"-c synchronous_commit={synchronous_commit} -c statement_timeout=0 -c lock_timeout=2s",
        )
        self._connection: Connection | None = None
        self._on_notice: Callable[[psycopg.errors.Diagnostic], None] | None = None

    def hear_notices(self, listener: Callable[[psycopg.errors.Diagnostic], None]) -> None:
        self._on_notice = listener

    @property
    def pid(self) -> int | None:
        """Of the backend; None while there is no connection."""
        connection = self._connection
        return None if connection is None or connection.closed else connection.info.backend_pid

    async def connect(self, within_ms: int) -> None:
        """Raise NoAnswer. A connection that is open stays."""
        if self._connection is not None and not self._connection.closed:
            return
        try:
            async with asyncio.timeout(within_ms / 1000):
                self._connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        except TimeoutError as error:
            raise NoAnswer(f"PostgreSQL took no connection within {within_ms} ms", timed_out=True) from error
        except psycopg.Error as error:
            raise NoAnswer(f"PostgreSQL takes no connection: {_words(error)}") from error
        if self._on_notice is not None:
            self._connection.add_notice_handler(self._on_notice)

    async def rows(self, statement: str, arguments: Sequence[Any] = (), *, within_ms: int) -> list[Row]:
        """Raise NoAnswer, or StepFailed when PostgreSQL refused the statement."""
        await self.connect(within_ms)
        connection = self._connection
        assert connection is not None
        return await bounded(connection, fetch(connection, statement, arguments), within_ms)

    async def row(self, statement: str, arguments: Sequence[Any] = (), *, within_ms: int) -> Row:
        found = await self.rows(statement, arguments, within_ms=within_ms)
        if len(found) != 1:
            raise StepFailed(f"expected one row, got {len(found)}")
        return found[0]

    async def run(self, statement: str, arguments: Sequence[Any] = (), *, within_ms: int) -> None:
        await self.rows(statement, arguments, within_ms=within_ms)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await sql_closing.close(connection)

    async def begin(self, statement: str, *, within_ms: int) -> Pending:
        """Send a statement whose answer may come much later; its connection is no longer this session's."""
        await self.connect(within_ms)
        connection, self._connection = self._connection, None
        assert connection is not None
        return Pending(connection, statement)

    def take_back(self, pending: Pending) -> None:
        """Its statement was answered: the connection is warm for the next one."""
        if self._connection is None and not pending.connection.closed:
            self._connection = pending.connection


class Pending:
    """A statement under way on a connection of its own."""

    def __init__(self, connection: Connection, statement: str) -> None:
        self.connection = connection
        self.pid = connection.info.backend_pid
        self._task = sql_closing.statement(connection, fetch(connection, statement, ()))

    @property
    def done(self) -> bool:
        return self._task.done()

    async def done_within(self, within_ms: int) -> bool:
        await asyncio.wait({self._task}, timeout=within_ms / 1000)
        return self._task.done()

    async def done_before(self, other: asyncio.Task[None]) -> bool:
        """False once the other one is done, and this one is not. The other one has a deadline of its own."""
        await asyncio.wait({self._task, other}, return_when=asyncio.FIRST_COMPLETED)
        return self._task.done()

    def rows(self) -> list[Row]:
        """Once it is done. Raise NoAnswer or StepFailed."""
        return _result(self.connection, self._task)

    async def abandon(self) -> None:
        """Close its session without a cancel request: the backend ends when its statement does."""
        await sql_closing.close(self.connection)


async def fetch(connection: Connection, statement: str, arguments: Sequence[Any]) -> list[Row]:
    cursor = await connection.execute(statement.encode(), arguments or None)
    return await cursor.fetchall() if cursor.description is not None else []


async def bounded(connection: Connection, work: Coroutine[Any, Any, T], within_ms: int) -> T:
    """Raise NoAnswer, after which the connection is closed, or StepFailed when PostgreSQL refused."""
    task = sql_closing.statement(connection, work)
    try:
        done, _ = await asyncio.wait({task}, timeout=within_ms / 1000)
    except asyncio.CancelledError:
        await sql_closing.close(connection)
        raise
    if not done:
        await sql_closing.close(connection)
        raise NoAnswer(f"PostgreSQL did not answer within {within_ms} ms", timed_out=True)
    return _result(connection, task)


def _result(connection: Connection, task: asyncio.Future[T]) -> T:
    try:
        return task.result()
    except psycopg.Error as error:
        if connection.closed:
            raise NoAnswer(f"the connection broke: {_words(error)}") from error
        raise StepFailed(_words(error)) from error


def _words(error: psycopg.Error) -> str:
    return str(error).strip().replace("\n", " / ") or type(error).__name__
