"""Closing a psycopg connection, also while a statement on it waits for its answer.

A waiting statement keeps the number of its socket in the event loop (psycopg.waiting.wait_async). Closed under it,
that number goes to whatever is opened next, which then is never heard: the statement takes the number out of the loop
at its next look, up to 100 ms later. A pg_rewind's output was lost so, and a rewind stood still. So the socket is shut
first, which ends the statement, and closed when nobody waits on it any more.
"""

from __future__ import annotations

import asyncio
import os
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
    return task


def cut(connection: Connection) -> None:
    """End whatever waits for its answer, without asking a server that may be frozen; the socket is still open."""
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        return  # it is closed already


async def close(connection: Connection) -> None:
    """Never raises. No cancel request is sent: PostgreSQL answers success to a commit whose wait for the standbys was
    cancelled. Where the loop is so late that a statement has not ended yet, its end closes the socket."""
    waiting = {task for task in _waiting.get(connection, ()) if not task.done()}
    if not waiting:
        connection.pgconn.finish()
        return
    for task in waiting:
        task.add_done_callback(_forgiven)
    cut(connection)
    _, late = await asyncio.wait(waiting, timeout=AFTER_THE_CUT_S)
    if late:
        asyncio.gather(*late, return_exceptions=True).add_done_callback(lambda _: connection.pgconn.finish())
    else:
        connection.pgconn.finish()


def _forgiven(task: asyncio.Future[Any]) -> None:
    """Whoever waited may be gone: what it failed with is nobody's concern."""
    if not task.cancelled():
        task.exception()
