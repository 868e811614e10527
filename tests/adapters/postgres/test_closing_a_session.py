"""A session that is closed while somebody waits for its answer: psycopg keeps the socket's number in the event loop.

Closed under it, the number is given to whatever is opened next, and that is never heard: a pipe, a pidfd, a socket.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from agents.postgres.sql import NoAnswer, Session
from tests.adapters.postgres.kit import Home, Member, eventually

pytestmark = pytest.mark.real

SLEEPS = "select pg_sleep(30)"
LONG_MS = 60_000


async def waiting(member: Member) -> tuple[Session, asyncio.Task[None], int]:
    """With a statement under way; the number of its socket."""
    session = Session(member.config)
    await session.connect(5_000)
    descriptor = session._connection.fileno()  # type: ignore[union-attr]
    statement = asyncio.create_task(session.run(SLEEPS, within_ms=LONG_MS))
    await eventually(
        lambda: bool(
            member.ask("select count(*) from pg_stat_activity where query = %s and state = 'active'", SLEEPS)
        )
    )
    return session, statement, descriptor


async def is_heard(descriptor: int) -> bool:
    """Whether a reader of this number hears what comes, now and after psycopg's next look (every 100 ms)."""
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    heard = asyncio.Event()

    def read() -> None:
        os.read(descriptor, 1)
        heard.set()

    if read_end != descriptor:  # the lowest that is free, so mostly it is that one
        os.dup2(read_end, descriptor)
        os.close(read_end)
    try:
        loop.add_reader(descriptor, read)
        for _ in range(4):
            heard.clear()
            os.write(write_end, b".")
            try:
                async with asyncio.timeout(2):
                    await heard.wait()
            except TimeoutError:
                return False
            await asyncio.sleep(0.08)
        return True
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        os.close(write_end)


async def test_whoever_waits_for_its_answer_hears_of_it_at_once(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        session, statement, _ = await waiting(a)
        await session.close()
        for _ in range(5):  # turns of the loop, not of a clock
            await asyncio.sleep(0)
        assert statement.done()
        with pytest.raises(NoAnswer):
            await statement


async def test_what_is_opened_next_under_the_number_of_its_socket_is_heard(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        session, statement, descriptor = await waiting(a)
        await session.close()
        assert await is_heard(descriptor)
        with pytest.raises(NoAnswer):
            await statement
