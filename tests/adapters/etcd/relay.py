"""A TCP relay in front of etcd that can lose what passes: requests, answers, or the connection."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Relay:
    def __init__(self, port: int) -> None:
        self._target_port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._swallow_requests = False
        self._swallow_answers = False
        self._refuse = False
        self.requests_bytes = 0
        """Bytes that clients have sent."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._cut()

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def point_at(self, port: int) -> None:
        """New connections go elsewhere; the present ones are cut."""
        self._target_port = port
        self._cut()

    def lose_requests(self) -> None:
        self._swallow_requests = True

    def lose_answers(self) -> None:
        self._swallow_answers = True

    def refuse(self) -> None:
        """Cut everything and let nobody in."""
        self._refuse = True
        self._cut()

    def heal(self) -> None:
        """As before. What was lost within a connection has spoilt it, so those are cut."""
        self._swallow_requests = self._swallow_answers = self._refuse = False
        self._cut()

    def _cut(self) -> None:
        for writer in self._connections:
            writer.transport.abort()
        self._connections.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuse:
            writer.transport.abort()
            return
        try:
            behind, to_target = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._connections |= {writer, to_target}
        await asyncio.gather(
            self._pump(reader, to_target, of_requests=True), self._pump(behind, writer, of_requests=False)
        )
        self._connections -= {writer, to_target}

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, of_requests: bool
    ) -> None:
        try:
            while data := await source.read(65536):
                if of_requests:
                    self.requests_bytes += len(data)
                if not (self._swallow_requests if of_requests else self._swallow_answers):
                    sink.write(data)
                    await sink.drain()
        except OSError:
            pass
        finally:
            sink.transport.abort()
