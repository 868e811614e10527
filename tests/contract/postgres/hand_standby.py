"""A standby driven by hand, over PostgreSQL's replication protocol: it says what it is told to, and keeps nothing.

PostgreSQL manual, section 55.4 ("Streaming Replication Protocol"): START_REPLICATION, then `r` messages with what
was written, flushed and applied. Rule of admission: what no real standby can be made to say at a chosen moment.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGconn

from tests.contract.postgres.port import HandStandby, Refused

_SAYS_AGAIN_S = 0.2
"""Well below wal_sender_timeout, after which its walsender would end."""
_STATUS = struct.Struct("!cQQQqB")


class RealHand(HandStandby):
    """Use `connected`; `close` it."""

    def __init__(self, connection: PGconn, flushed: int) -> None:
        self._connection = connection
        self._flushed = flushed
        self._speaking = asyncio.ensure_future(self._speak())

    @classmethod
    def connected(cls, conninfo: str, *, slot: str, start: int, timeline: int) -> RealHand:
        """Raise Refused."""
        connection = pq.PGconn.connect(f"{conninfo} replication=true".encode())
        if connection.status != pq.ConnStatus.OK:
            raise Refused(connection.error_message.decode())
        at = f"{start >> 32:X}/{start & 0xFFFFFFFF:X}"
        in_slot = f'SLOT "{slot}" ' if slot else ""
        result = connection.exec_(f"START_REPLICATION {in_slot}PHYSICAL {at} TIMELINE {timeline}".encode())
        if result.status != pq.ExecStatus.COPY_BOTH:
            words = connection.error_message.decode()
            connection.finish()
            raise Refused(words)
        connection.nonblocking = 1
        return cls(connection, start)

    async def report(self, flushed: int) -> None:
        self._flushed = flushed
        self._say()

    async def fall_silent(self) -> None:
        self._speaking.cancel()
        with suppress(asyncio.CancelledError):
            await self._speaking

    async def close(self) -> None:
        await self.fall_silent()
        self._connection.finish()

    async def _speak(self) -> None:
        while True:
            self._say()
            await asyncio.sleep(_SAYS_AGAIN_S)

    def _say(self) -> None:
        with suppress(psycopg.Error):  # its walsender was ended
            self._drop_what_came()
            message = _STATUS.pack(b"r", self._flushed, self._flushed, self._flushed, 0, 0)
            self._connection.put_copy_data(message)
            self._connection.flush()

    def _drop_what_came(self) -> None:
        self._connection.consume_input()
        while self._connection.get_copy_data(1)[0] > 0:
            pass
