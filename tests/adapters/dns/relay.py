"""A liar between publisher and name server, by UDP: it passes, swallows, or slips in a forged reply."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.egress.dns_key import ServerAddress
from tests.adapters.dns.worlds import LOOPBACK

_OPCODE_UPDATE = 5


class Relay:
    def __init__(self, server: ServerAddress, front: socket.socket) -> None:
        self._server = server
        self._front = front
        self.address = ServerAddress(*front.getsockname())
        self.passes = True
        self.swallow_replies = 0  # of updates
        self.forge = ""
        self.forged = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            data, client = await loop.sock_recvfrom(self._front, 65535)
            if self.passes:
                await self._pass(data, client)

    async def _pass(self, data: bytes, client: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        is_update = data[2] >> 3 & 0xF == _OPCODE_UPDATE
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as back:
            back.connect((self._server.host, self._server.port))
            await loop.sock_sendall(back, data)
            async with asyncio.timeout(2):
                reply = await loop.sock_recv(back, 65535)
        if is_update and self.forge:
            self.forged += 1
            self._front.sendto(self._forgery(data, reply), client)
        if is_update and self.swallow_replies > 0:
            self.swallow_replies -= 1
        else:
            self._front.sendto(reply, client)

    def _forgery(self, request: bytes, reply: bytes) -> bytes:
        match self.forge:
            case "wrong_id":
                return bytes([reply[0] ^ 1]) + reply[1:]
            case "garbage":
                return request[:2] + b"\xff" * 30
            case "unsigned_success":
                return request[:2] + b"\xa8\x00" + b"\x00" * 8
            case _:
                # The last six bytes are original id, error and other length; before them is the signature.
                return reply[:-7] + bytes([reply[-7] ^ 1]) + reply[-6:]


@asynccontextmanager
async def between(server: ServerAddress) -> AsyncIterator[Relay]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as front:
        front.bind((LOOPBACK, 0))
        relay = Relay(server, front)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(relay.run())
            yield relay
            running.cancel()
