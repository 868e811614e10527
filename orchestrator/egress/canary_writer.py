"""The canary: one client of a cluster, through DNS, that writes a row every 20 ms.

It does as the reference client of the benchmarks: it resolves at each connect, connecting has 200 ms and a write
300 ms, after a failure it closes the socket, waits 20 ms and begins anew. One thing it does that few clients do:
while it waits for an answer it asks the name every 20 ms, and leaves an address that the name no longer says. So
what it measures ends when the service is back, and not when the deadline of a client runs out.

It decides nothing, and nothing that decides hears of it. Its calls go by the policies `canary.*`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from common.clock import Clock
from common.errors import NotDelivered, OutcomeUnknown, Refused
from common.resilience import POLICIES, Caller
from common.timebase import Instant, after_ms, elapsed_ms
from orchestrator.config import AnswererConfig, Rfc2136Config
from orchestrator.core.gaps import PERIOD_MS
from orchestrator.egress.canary_session import Session, TurnedAway
from orchestrator.egress.dns_key import ServerAddress
from orchestrator.egress.dns_read import read_addresses
from orchestrator.egress.pulse import Pulse
from orchestrator.ports import CanaryEar, CanaryTarget

ASKS_AFTER_MS: Final = 3 * PERIOD_MS
"""An answer that comes sooner costs no look at the name."""
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_PERIOD_S: Final = PERIOD_MS / 1000
_UNTRIED_PAUSE_S: Final = 0.1
_CANCELLED_WITHIN_S: Final = 0.2


class _Moved(NotDelivered):
    """The name says another address."""

    def __init__(self, last_said_at: Instant) -> None:
        super().__init__("the name says another address")
        self.last_said_at = last_said_at


class _Silent(OutcomeUnknown):
    """Nothing was heard within the deadline."""


class CanaryWriter:
    def __init__(
        self,
        clock: Clock,
        caller: Caller,
        pulse: Pulse,
        *,
        user: str,
        password: str,
        name_servers: Mapping[str, Sequence[ServerAddress]],
    ) -> None:
        """`name_servers` by zone: who is asked, the next one after each failure."""
        self._clock, self._caller, self._pulse = clock, caller, pulse
        self._user, self._password = user, password
        self._name_servers = name_servers

    async def run(self, target: CanaryTarget, ear: CanaryEar) -> None:
        """Until cancelled."""
        await _Client(
            self._clock,
            self._caller,
            self._pulse,
            target,
            ear,
            self._name_servers.get(target.zone, ()),
            (self._user, self._password),
        ).run()


def name_servers_to_ask(
    dns: Sequence[Rfc2136Config | AnswererConfig],
) -> Mapping[str, tuple[ServerAddress, ...]]:
    """By zone, those that hold it, as the configuration has them for its changes; our own answerer after them."""
    servers: dict[str, tuple[ServerAddress, ...]] = {}
    for place in sorted(dns, key=lambda place: isinstance(place, AnswererConfig)):
        if isinstance(place, Rfc2136Config):
            verify = tuple(ServerAddress.parse(text) for text in place.verify)
            asked = verify or (ServerAddress(place.server, place.port),)
        else:
            asked = (ServerAddress(_LOOPBACK.get(place.listen, place.listen), place.port),)
        zone = place.zone.rstrip(".").lower()
        servers[zone] = (*servers.get(zone, ()), *asked)
    return servers


class _Client:
    def __init__(
        self,
        clock: Clock,
        caller: Caller,
        pulse: Pulse,
        target: CanaryTarget,
        ear: CanaryEar,
        servers: Sequence[ServerAddress],
        login: tuple[str, str],
    ) -> None:
        self._clock, self._caller, self._pulse = clock, caller, pulse
        self._target, self._ear = target, ear
        self._servers, self._login = servers, login
        self._asked_count = self._connect_count = 0
        self._n = clock.now()

    async def run(self) -> None:
        while True:
            try:
                session, address = await self._connected()
                await self._write(session, address)
            except _Moved:
                continue  # to the new address at once
            except (NotDelivered, OutcomeUnknown, Refused):
                await asyncio.sleep(_PERIOD_S)

    # ---- connecting ----

    async def _connected(self) -> tuple[Session, str]:
        begun_at: Instant | None = None

        async def connect() -> tuple[Session, str]:
            nonlocal begun_at
            begun_at = self._clock.now()
            return await self._connect()

        try:
            return await self._caller.call("canary.connect", connect, target=self._target.cluster)
        except _Moved as moved:
            self._failed("connect", "moved", moved.last_said_at, str(moved))
            raise
        except (NotDelivered, OutcomeUnknown, Refused) as error:
            if begun_at is None:  # the breaker is open
                await asyncio.sleep(_UNTRIED_PAUSE_S)
            else:
                at = self._clock.now() if isinstance(error, TurnedAway) else begun_at
                self._failed("connect", "failed", at, str(error))
            raise

    async def _connect(self) -> tuple[Session, str]:
        addresses = await self._ask()
        if not addresses:
            raise TurnedAway(f"{self._target.name} has no address")
        self._connect_count += 1
        address = addresses[self._connect_count % len(addresses)]
        user, password = self._login
        opening = asyncio.ensure_future(
            Session.open(
                self._clock,
                address=address,
                port=self._target.ports.get(address, self._target.default_port),
                user=user,
                password=password,
            )
        )
        try:
            moved_at = await self._done_or_moved(opening, address, POLICIES["canary.connect"].timeout_ms)
            if moved_at is not None:
                raise _Moved(moved_at)
            if not opening.done():
                raise NotDelivered(f"{address} does not answer")
            return opening.result(), address
        except BaseException:
            await _forget(opening)
            raise

    # ---- writing ----

    async def _write(self, session: Session, address: str) -> None:
        """Until a write fails. Raise _Moved, Refused, OutcomeUnknown."""
        due_at = self._clock.now()
        while True:
            self._n = Instant(self._n + 1)
            begun_at = self._clock.now()
            writing = asyncio.ensure_future(session.write(self._n))
            try:
                acknowledged_at = await self._answer(writing, address)
            except BaseException as error:
                await session.give_up(writing)
                self._tell_failure(error, begun_at)
                raise
            self._ear.acknowledged(acknowledged_at, begun_at, self._pulse.stalled_us)
            due_at = max(after_ms(due_at, PERIOD_MS), self._clock.now())
            await self._sleep_until(due_at, session)

    async def _answer(self, writing: asyncio.Future[Instant], address: str) -> Instant:
        within_ms = POLICIES["canary.write"].timeout_ms
        moved_at = await self._done_or_moved(writing, address, within_ms)
        if moved_at is not None:
            raise _Moved(moved_at)
        if not writing.done():
            raise _Silent(f"no answer within {within_ms} ms")
        return writing.result()

    def _tell_failure(self, error: BaseException, begun_at: Instant) -> None:
        match error:
            case _Moved():
                self._failed("write", "moved", error.last_said_at, str(error))
            case _Silent():
                self._failed("write", "unknown", begun_at, str(error))
            case OutcomeUnknown():
                self._failed("write", "unknown", self._clock.now(), str(error))
            case Refused():
                self._failed("write", "refused", self._clock.now(), str(error))
            case _:
                return  # we were cancelled

    def _failed(self, what: str, outcome: str, turned_away_at: Instant, text: str) -> None:
        self._ear.failed(what, outcome, turned_away_at, text, self._pulse.stalled_us)

    async def _sleep_until(self, due_at: Instant, session: Session) -> None:
        try:
            await asyncio.sleep(max(0, due_at - self._clock.now()) / 1_000_000)
        except BaseException:
            await session.give_up()
            raise

    # ---- the name ----

    async def _done_or_moved(self, work: asyncio.Future[Any], address: str, within_ms: int) -> Instant | None:
        """Wait for the work, at most so long. When the name last said this address, once it says another one."""
        begun_at = last_said_at = self._clock.now()
        await asyncio.wait({work}, timeout=ASKS_AFTER_MS / 1000)
        while not work.done():
            left_ms = within_ms - elapsed_ms(since=begun_at, now=self._clock.now())
            if left_ms <= 0:
                return None
            asked_at = self._clock.now()
            said = await self._ask_beside(work, left_ms)
            if said and address not in said and not work.done():
                return last_said_at
            if said:
                last_said_at = asked_at
            await asyncio.wait({work}, timeout=_PERIOD_S)
        return None

    async def _ask_beside(self, work: asyncio.Future[Any], left_ms: int) -> tuple[str, ...]:
        """What the name says; nothing where that is not to be had before the work is done."""
        asking = asyncio.ensure_future(self._ask())
        try:
            await asyncio.wait({work, asking}, timeout=left_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else ()
        except (NotDelivered, OutcomeUnknown, Refused):
            return ()
        finally:
            await _forget(asking)

    async def _ask(self) -> tuple[str, ...]:
        if not self._servers:
            raise Refused(f"no name server of {self._target.zone} is configured here")
        server = self._servers[self._asked_count % len(self._servers)]
        within_s = POLICIES["canary.resolve"].timeout_s
        try:
            return await read_addresses(server, self._target.name, within_s=within_s)
        except (NotDelivered, OutcomeUnknown, Refused):
            self._asked_count += 1
            raise


async def _forget(work: asyncio.Future[Any]) -> None:
    """Its end is of no interest any more; what it opened is closed."""
    if not work.done():
        work.cancel()
        await asyncio.wait({work}, timeout=_CANCELLED_WITHIN_S)
    if work.done() and not work.cancelled() and work.exception() is None:
        opened = work.result()
        if isinstance(opened, Session):
            await opened.give_up()
