"""Closing under a statement, where nothing of PostgreSQL is needed to see what becomes of it."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from common import sql_closing


class Connection:
    """What is asked of a psycopg connection."""

    def __init__(self) -> None:
        self.server, self._socket = socket.socketpair()
        self._socket.setblocking(False)
        self.closed_count = 0
        self.pgconn = self

    def fileno(self) -> int:
        if self._socket.fileno() < 0:
            raise OSError("the connection is closed")
        return self._socket.fileno()

    def finish(self) -> None:
        self.closed_count += 1
        self._socket.close()

    async def answer(self) -> bytes:
        """Empty: the socket was shut."""
        return await asyncio.get_running_loop().sock_recv(self._socket, 1)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Connection, Any]]:
    """The same twice, the second one as the type that is wanted."""
    made = Connection()
    try:
        yield made, cast("Any", made)
    finally:
        made.finish()
        made.server.close()


async def test_a_statement_ends_before_its_socket_is_closed() -> None:
    async with connected() as (one, connection):
        closed_at_its_end = []

        async def waits() -> None:
            assert await one.answer() == b""
            closed_at_its_end.append(one.closed_count)

        statement = sql_closing.statement(connection, waits())
        await asyncio.sleep(0)
        await sql_closing.close(connection)
        assert statement.done()
        assert closed_at_its_end == [0]
        assert one.closed_count == 1


async def test_a_statement_that_is_late_closes_the_socket_when_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sql_closing, "AFTER_THE_CUT_S", 0.01)
    async with connected() as (one, connection):
        go_on = asyncio.Event()
        statement = sql_closing.statement(connection, go_on.wait())
        await sql_closing.close(connection)
        assert (statement.done(), one.closed_count) == (False, 0)
        go_on.set()
        await asyncio.wait({statement})
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert one.closed_count == 1


async def test_who_is_cancelled_while_it_closes_leaves_the_end_to_the_statement() -> None:
    async with connected() as (one, connection):
        go_on = asyncio.Event()
        statement = sql_closing.statement(connection, go_on.wait())
        closing = asyncio.create_task(sql_closing.close(connection))
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing})
        assert (closing.cancelled(), statement.done(), one.closed_count) == (True, False, 0)
        go_on.set()
        for _ in range(3):
            await asyncio.sleep(0)
        assert one.closed_count == 1


async def test_the_socket_is_shut_where_no_descriptor_is_left() -> None:
    async with connected() as (one, connection):
        statement = sql_closing.statement(connection, one.answer())
        await asyncio.sleep(0)
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            sql_closing.cut(connection)
        finally:
            for each in taken:
                os.close(each)
        assert await asyncio.wait_for(statement, 5) == b""
        assert one.fileno() > 0  # shut, and still ours to close


async def test_what_a_statement_failed_with_is_missed_by_nobody_once_it_is_closed() -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["message"]))

    async def fails() -> None:
        raise RuntimeError("the server died")

    async with connected() as (_, connection):
        statement = sql_closing.statement(connection, fails())
        await asyncio.wait({statement})
        await sql_closing.close(connection)
        del statement
        gc.collect()
        await asyncio.sleep(0)
        assert told == []
