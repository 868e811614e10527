"""Closing a psycopg connection, also while a statement on it waits for its answer.

A waiting statement keeps the number of its socket in the event loop (psycopg.waiting.wait_async). Closed under it,
that number goes to whatever is opened next, which then is never heard: the statement takes the number out of the loop
at its next look, up to 100 ms later. The output of a pg_rewind can be lost so, which is the best explanation of rewinds
that stood still. So the socket is shut first, which ends the statement, and closed when nobody waits on it any more.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import psycopg

T = TypeVar("T")
Connection = psycopg.AsyncConnection[Any]

AFTER_THE_CUT_S = 0.2
_waiting: WeakKeyDictionary[Connection, set[asyncio.Future[Any]]] = WeakKeyDictionary()


def statement(connection: Connection, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task of its own, which outlives the cancellation of whoever waits for it, and which `close` knows of."""
    task = asyncio.ensure_future(work)
    waiting = _waiting.setdefault(connection, set())
    waiting.add(task)
    task.add_done_callback(waiting.discard)
    task.add_done_callback(_forgiven)
    return task


def cut(connection: Connection) -> None:
    """End whatever waits for its answer, without asking a server that may be frozen; the socket is still open. It takes
    no descriptor, of which there may be none left."""
    try:
        borrowed = socket.socket(fileno=connection.fileno())
    except (OSError, psycopg.Error):
        return  # it is closed already
    try:
        borrowed.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other end was quicker
    finally:
        borrowed.detach()


async def close(connection: Connection) -> None:
    """No cancel request is sent: PostgreSQL answers success to a commit whose wait for the standbys was cancelled. The
    socket is closed by the end of the last statement, which is waited for, but not for long: a loop may be late, and
    who waits here may be cancelled."""
    waiting = [task for task in _waiting.get(connection, ()) if not task.done()]
    if not waiting:
        connection.pgconn.finish()
        return
    ended = asyncio.gather(*waiting, return_exceptions=True)
    ended.add_done_callback(lambda _: connection.pgconn.finish())
    cut(connection)
    await asyncio.wait({ended}, timeout=AFTER_THE_CUT_S)


def _forgiven(task: asyncio.Future[Any]) -> None:
    """Whoever waited may be gone by then: what it failed with is nobody's concern. Who is there is told all the same."""
    if not task.cancelled():
        task.exception()
