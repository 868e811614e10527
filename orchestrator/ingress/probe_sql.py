"""The leader's own look at a primary that is suspected: one warm connection to each, role `primacy_probe`.

A deadline is kept by cutting the socket: cancelling psycopg against a frozen server takes ten seconds, and
TCP timeouts do nothing because its kernel still acknowledges.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import psycopg
import structlog

from common import sql_closing
from common.clock import Clock
from common.ids import ClusterName
from common.resilience import POLICIES
from common.timebase import Instant, after_ms, elapsed_ms
from orchestrator.core.events import ProbeAnswer

log = structlog.get_logger()

WARM_EVERY_S: Final = 2.0
WARM_A_SECOND_MAX: Final = 100
"""Where there are more primaries than this allows for, each connection is looked at less often: one that broke is then
found broken when it is needed, and made anew."""
WARM_WITHIN_MS: Final = 500
_QUESTION: Final = "select pg_is_in_recovery()"
_SHUTTING_DOWN: Final = ("57P01", "57P02", "57P03")

Where = tuple[str, int]
Connection = psycopg.AsyncConnection[tuple[bool]]


@dataclass(slots=True)
class _Place:
    connection: Connection | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class SqlProber:
    def __init__(self, clock: Clock, *, user: str, password: str, database: str) -> None:
        self._clock = clock
        self._user, self._password, self._database = user, password, database
        self._places: dict[Where, _Place] = {}
        self._warm: dict[ClusterName, Where] = {}

    def keep_warm(self, cluster: ClusterName, address: str, port: int) -> None:
        """The primary of this cluster, instead of an earlier one."""
        self._warm[cluster] = (address, port)

    def forget_all(self) -> None:
        """We don't lead: others watch."""
        self._warm.clear()

    async def run(self) -> None:
        """Keep the connections; until cancelled. What they say now and then is of no interest here."""
        try:
            while True:
                await asyncio.sleep(WARM_EVERY_S)
                wanted = set(self._warm.values())
                for where in set(self._places) - wanted:
                    await self._drop(self._places.pop(where))
                for some in _portions(sorted(wanted)):
                    async with asyncio.TaskGroup() as group:
                        for where in some:
                            group.create_task(self.probe(*where, WARM_WITHIN_MS))
                    if len(wanted) > len(some):
                        await asyncio.sleep(len(some) / WARM_A_SECOND_MAX)
        finally:
            for place in tuple(self._places.values()):
                await self._drop(place)

    async def probe(self, address: str, port: int, within_ms: int) -> ProbeAnswer:
        """PRIMARY and STANDBY: it answers. REFUSED: surely nobody serves there. SILENT: no answer in time."""
        within_ms = min(within_ms, POLICIES["probe.sql"].timeout_ms)
        until = after_ms(self._clock.now(), within_ms)
        place = self._places.setdefault((address, port), _Place())
        try:
            async with asyncio.timeout(within_ms / 1000):
                await place.lock.acquire()
        except TimeoutError:
            return ProbeAnswer.SILENT
        try:
            answer = await self._ask_warm(place, until)
            if answer is None:  # a connection that had broken says nothing; a new one does
                answer = await self._ask_anew(place, address, port, until)
            return answer
        finally:
            place.lock.release()

    async def _ask_warm(self, place: _Place, until: Instant) -> ProbeAnswer | None:
        if place.connection is None or place.connection.closed:
            return None
        answer = await self._ask(place, until)
        if answer is None or answer is ProbeAnswer.SILENT:
            await self._drop(place)
        return answer

    async def _ask_anew(self, place: _Place, address: str, port: int, until: Instant) -> ProbeAnswer:
        left_ms = elapsed_ms(since=self._clock.now(), now=until)
        try:
            # Unlike a query, connecting may simply be cancelled: psycopg waits for the socket itself.
            async with asyncio.timeout(left_ms / 1000):
                place.connection = await psycopg.AsyncConnection.connect(
                    host=address,
                    port=port,
                    user=self._user,
                    password=self._password,
                    dbname=self._database,
                    application_name="primacy_probe",
                    connect_timeout=10,
                    autocommit=True,
                    options="-c statement_timeout=2000",
                )
        except TimeoutError:
            return ProbeAnswer.SILENT
        except psycopg.OperationalError as error:
            return _of_failed_connect(error)
        answer = await self._ask(place, until)
        return ProbeAnswer.REFUSED if answer is None else answer

    async def _ask(self, place: _Place, until: Instant) -> ProbeAnswer | None:
        """None: the connection broke at once."""
        connection = place.connection
        assert connection is not None
        left_ms = elapsed_ms(since=self._clock.now(), now=until)
        query = sql_closing.statement(connection, _question(connection))
        try:
            done, _ = await asyncio.wait({query}, timeout=left_ms / 1000)
            if done:
                return query.result()
            await sql_closing.close(connection)
            return ProbeAnswer.SILENT
        finally:
            if not query.done():
                sql_closing.cut(connection)

    async def _drop(self, place: _Place) -> None:
        connection, place.connection = place.connection, None
        if connection is not None:
            await sql_closing.close(connection)


def _portions(wanted: Sequence[Where]) -> Iterator[Sequence[Where]]:
    """All at once while they are few; else some in each tenth of a second."""
    at_once = WARM_A_SECOND_MAX * int(WARM_EVERY_S)
    size = max(1, len(wanted)) if len(wanted) <= at_once else WARM_A_SECOND_MAX // 10
    for first in range(0, len(wanted), size):
        yield wanted[first : first + size]


async def _question(connection: Connection) -> ProbeAnswer | None:
    try:
        cursor = await connection.execute(_QUESTION)
        row = await cursor.fetchone()
    except psycopg.Error as error:
        log.info("probe.broke", error=str(error).strip(), sqlstate=error.sqlstate)
        return None
    if row is None:
        return None
    return ProbeAnswer.STANDBY if row[0] else ProbeAnswer.PRIMARY


def _of_failed_connect(error: psycopg.OperationalError) -> ProbeAnswer:
    text = str(error)
    if error.sqlstate in _SHUTTING_DOWN or "Connection refused" in text or "starting up" in text:
        return ProbeAnswer.REFUSED
    if "shutting down" in text or "server closed the connection" in text:
        return ProbeAnswer.REFUSED
    # No route, a wrong password, too many clients: this says nothing about the primary.
    log.info("probe.not_connected", error=text.strip())
    return ProbeAnswer.SILENT
