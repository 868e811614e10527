"""One connection of the canary: connecting, one write after the other, and giving up.

Its deadlines are kept by the caller. A session is given up by closing its socket; no cancel request is ever
sent, for PostgreSQL answers success to a commit whose wait for the standbys was cancelled. What such a commit
leaves behind is bounded by the server: a write that waits for the row of an earlier one ends by `lock_timeout`,
and the role may have few sessions (agents.postgres.canary).
"""

from __future__ import annotations

import asyncio
import traceback
from typing import Final

import psycopg

from common import sql_closing
from common.clock import Clock
from common.errors import NotDelivered, OutcomeUnknown, Refused
from common.timebase import Instant

DATABASE: Final = "postgres"
_WRITE: Final = "update primacy.canary set n = %s"
_OPTIONS: Final = "-c synchronous_commit=on -c statement_timeout=0 -c lock_timeout=250 -c client_connection_check_interval=100"


class TurnedAway(NotDelivered):
    """Somebody answered, and did not let us in."""


class Session:
    def __init__(self, connection: psycopg.AsyncConnection[tuple[int]], clock: Clock) -> None:
        self._connection, self._clock = connection, clock
        self._warned = ""
        connection.add_notice_handler(self._hear)

    @classmethod
    async def open(cls, clock: Clock, *, address: str, port: int, user: str, password: str) -> Session:
        """Raise TurnedAway. Unlike a write it may simply be cancelled."""
        try:
            connection = await psycopg.AsyncConnection.connect(
                hostaddr=address,
                port=port,
                user=user,
                password=password,
                dbname=DATABASE,
                application_name="primacy_canary",
                connect_timeout=10,
                gssencmode="disable",
                autocommit=True,
                options=_OPTIONS,
            )
        except (psycopg.Error, OSError) as error:
            raise TurnedAway(f"{address}:{port} lets nobody in: {_words(error)}") from error
        except asyncio.CancelledError as given_up:
            # psycopg closes the socket once nobody holds its frames; who keeps this error holds them, until some
            # collection. The kernel would go on trying meanwhile, and leave a connection that says nothing.
            traceback.clear_frames(given_up.__traceback__)
            raise
        return cls(connection, clock)

    async def write(self, n: int) -> Instant:
        """When it was acknowledged. Raise Refused (surely not written), OutcomeUnknown."""
        try:
            execution = self._connection.execute(_WRITE, (n,), prepare=True)
            cursor = await sql_closing.statement(self._connection, execution)
        except (psycopg.Error, OSError) as error:
            said_no = isinstance(error, psycopg.Error) and error.sqlstate is not None
            if said_no and not self._connection.closed:
                raise Refused(_words(error)) from error
            raise OutcomeUnknown(f"the connection broke: {_words(error)}") from error
        at = self._clock.now()
        if self._warned:
            raise OutcomeUnknown(f"answered with a warning: {self._warned}")
        if cursor.rowcount != 1:
            raise Refused("the canary's row is not there; the agent makes it when it starts a primary")
        return at

    async def give_up(self, write: asyncio.Future[Instant] | None = None) -> None:
        """`write` is under way: its socket is cut, for its server may be frozen."""
        await sql_closing.close(self._connection)
        if write is not None:
            write.add_done_callback(lambda late: late.cancelled() or late.exception())

    def _hear(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            self._warned = diagnostic.message_primary or "no text"


def _words(error: Exception) -> str:
    return str(error).strip().replace("\n", " / ") or type(error).__name__
