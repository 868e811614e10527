"""What the control node's own SQL connections reach: a PostgreSQL that only answers its one question.

One port on every loopback address stands for the PostgreSQL of all members; a lost one accepts and says nothing.
The leader keeps a connection to every primary, so thousands of these are part of its load.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Final

_NO_ENCRYPTION: Final = frozenset({80877103, 80877104})  # SSLRequest, GSSENCRequest
_READY: Final = b"Z\0\0\0\x05I"
_HELLO: Final = (
    b"R\0\0\0\x08\0\0\0\0"
    + b"".join(
        b"S" + struct.pack(">I", 4 + len(pair)) + pair
        for pair in (
            b"server_version\x0015.0\0",
            b"client_encoding\0UTF8\0",
            b"standard_conforming_strings\0on\0",
        )
    )
    + _READY
)


def _answer(word: bytes) -> bytes:
    column = b"?column?\0" + struct.pack(">IhIhih", 0, 0, 16, 1, -1, 0)
    return (
        b"T" + struct.pack(">Ih", 6 + len(column), 1) + column
        + b"D" + struct.pack(">IhI", 10 + len(word), 1, len(word)) + word
        + b"C\0\0\0\x0dSELECT 1\0" + _READY
    )  # fmt: skip


_PRIMARY: Final = _answer(b"f")


class Door(asyncio.Protocol):
    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._transport: asyncio.Transport | None = None
        self._address = ""
        self._began = False
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._address = str(transport.get_extra_info("sockname")[0])
        self._doors.opened_count += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._doors.opened_count -= 1

    def data_received(self, data: bytes) -> None:
        if self._address in self._doors.silent or self._transport is None:
            return
        self._waiting += data
        while (answer := self._next_answer()) is not None:
            self._transport.write(answer)

    def _next_answer(self) -> bytes | None:
        head = 4 if not self._began else 5
        if len(self._waiting) < head:
            return None
        kind = b"" if not self._began else self._waiting[:1]
        (length,) = struct.unpack(">I", self._waiting[head - 4 : head])
        whole = length + len(kind)
        if len(self._waiting) < whole:
            return None
        message, self._waiting = self._waiting[:whole], self._waiting[whole:]
        if not self._began:
            if struct.unpack(">I", message[4:8])[0] in _NO_ENCRYPTION:
                return b"N"
            self._began = True
            return _HELLO
        return _PRIMARY if kind == b"Q" else b""


class Doors:
    def __init__(self) -> None:
        self.silent: set[str] = set()
        """Addresses of lost hosts."""
        self.opened_count = 0

    async def serve(self, port: int) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(
            lambda: Door(self), "0.0.0.0", port, backlog=4096
        )
