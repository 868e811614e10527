"""What waits to be fed into the engines: bounded, by cluster, and the newest word of a member wins.

Ingress and dispatch put events in; the loop alone takes them out. Nothing is decided here, except what
is worth waking the loop for at once: all but beats that say the same as the one before, which wait until their
cluster has its next turn. A beat that is replaced by a newer one before anybody looked is no loss, but is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Protocol

from common.clock import Clock
from common.ids import ClusterName, MemberName
from common.timebase import MS_US, Instant
from orchestrator.core.events import Beat, BeatHeard, BeatRelayed, Event, FactsHeard, Tick

ROOM = 100_000
"""Events of all clusters together: a beat and a report of every member of a large fleet, and as much again. A loop
that is so far behind is stuck, not slow."""

Item = tuple[ClusterName, Event]
Counted = Callable[[str], None]


class Quiet(Protocol):
    """Where beats wait that say the same as the one before (ingress)."""

    def quiet_of(self, cluster: ClusterName) -> list[BeatHeard]:
        """Those of the cluster; they wait no longer."""
        ...

    def all_speak(self, cluster: ClusterName, member: MemberName) -> Instant | None:
        """When the newest of this member came, where one of each member waits."""
        ...


class NoQuiet:
    """Every beat is put."""

    def quiet_of(self, _cluster: ClusterName) -> list[BeatHeard]:
        return []

    def all_speak(self, _cluster: ClusterName, _member: MemberName) -> Instant | None:
        return None


class Inbox:
    def __init__(
        self,
        clock: Clock,
        *,
        room: int = ROOM,
        counted: Counted = lambda _what: None,
        quiet: Quiet | None = None,
    ) -> None:
        """`counted` is told `superseded` or `dropped`, once for each."""
        self._clock, self._room, self._counted = clock, room, counted
        self._quiet: Quiet = quiet or NoQuiet()
        self._waiting: dict[ClusterName, dict[Hashable, Event]] = {}
        self._depth = 0
        self._others = 0
        self._tick: Tick | None = None
        self._last: dict[tuple[ClusterName, MemberName], Hashable] = {}
        self._urgent: dict[ClusterName, None] = {}
        self._awake = asyncio.Event()

    @property
    def depth(self) -> int:
        return self._depth

    @property
    def is_awake(self) -> bool:
        """Something matters enough not to wait for the tick."""
        return self._awake.is_set()

    def put(self, cluster: ClusterName, event: Event) -> bool:
        """False: there was no room, and the event is lost (counted)."""
        key: Hashable
        match event:
            case BeatHeard(beat=beat):
                key = (beat.member, "beat")
                at_once = self._says_something_new(cluster, beat)
            case BeatRelayed(beat=beat):
                key = (beat.member, "relayed")
                at_once = True
            case FactsHeard(facts=facts):
                key = (facts.member, "facts")  # facts are always the whole
                at_once = True
            case _:
                self._others += 1
                key = self._others
                at_once = True
        waiting = self._waiting.get(cluster)
        if waiting is None:
            waiting = self._waiting[cluster] = {}
        before = waiting.pop(key, None)
        if before is not None:
            self._counted("superseded")
            if isinstance(event, BeatHeard) and isinstance(before, BeatHeard):
                event = _merged(before, event)
            elif isinstance(event, BeatRelayed) and isinstance(before, BeatRelayed):
                event = before if _is_overtaken(event.beat, before.beat) else event
        elif self._depth >= self._room:
            self._counted("dropped")
            return False
        else:
            self._depth += 1
        waiting[key] = event
        if at_once:
            self._urgent[cluster] = None
            self._awake.set()
        return True

    def tick(self, tick: Tick) -> None:
        """For every cluster; a newer one replaces an older one."""
        self._tick = tick
        self._awake.set()

    def wake(self) -> None:
        self._awake.set()

    def calls(self) -> tuple[list[ClusterName], Tick | None]:
        """The clusters of which something came that should not wait, in that order, and the tick; from now on it
        sleeps until there is something else. What came is still there: `take`."""
        urgent, tick = list(self._urgent), self._tick
        self._urgent.clear()
        self._tick = None
        self._awake.clear()
        return urgent, tick

    def urgent_calls(self) -> list[ClusterName]:
        """The clusters alone; the tick stays, and it does not sleep before `calls`."""
        urgent = list(self._urgent)
        self._urgent.clear()
        return urgent

    def call(self, cluster: ClusterName) -> None:
        """What came of this one should not wait (any more)."""
        self._urgent[cluster] = None
        self._awake.set()

    def take(self, cluster: ClusterName) -> list[Event]:
        """What waits of this one, oldest first."""
        quiet: list[Event] = [*self._quiet.quiet_of(cluster)]
        waiting = self._waiting.pop(cluster, None)
        if waiting is None:
            return quiet
        self._depth -= len(waiting)
        return sorted([*waiting.values(), *quiet], key=_came_at) if quiet else list(waiting.values())

    def all_is_as_before(self, cluster: ClusterName, member: MemberName) -> Instant | None:
        """When the newest beat of this member came, where all that waits are beats of every member of the cluster
        that say nothing new."""
        return None if cluster in self._waiting else self._quiet.all_speak(cluster, member)

    def drain(self) -> tuple[list[Item], Tick | None]:
        """All that waits."""
        _, tick = self.calls()
        items = [(cluster, event) for cluster in list(self._waiting) for event in self.take(cluster)]
        return items, tick

    async def wait(self, until: Instant | None = None) -> None:
        """Until something matters, or until the instant."""
        if until is None:
            await self._awake.wait()
            return
        left_us = until - self._clock.now()
        if left_us <= 0 or self._awake.is_set():
            await asyncio.sleep(0)  # others get their turn, however busy the loop is
            return
        try:
            async with asyncio.timeout(left_us / (1000 * MS_US)):
                await self._awake.wait()
        except TimeoutError:
            return

    def _says_something_new(self, cluster: ClusterName, beat: Beat) -> bool:
        said = (
            beat.boot_id,
            beat.incarnation,
            beat.obeyed,
            beat.postgres,
            beat.postmaster_alive,
            beat.open,
            beat.sealed,
            beat.timeline,
            beat.write_state,
        )
        before = self._last.get((cluster, beat.member))
        self._last[cluster, beat.member] = said
        return said != before


def _came_at(event: Event) -> Instant:
    return event.at


def _merged(before: BeatHeard, came: BeatHeard) -> BeatHeard:
    """The one that was sent last: datagrams come out of order."""
    newest = before if _is_overtaken(came.beat, before.beat) else came
    return BeatHeard(newest.at, newest.beat, before.merged + came.merged)


def _is_overtaken(came: Beat, before: Beat) -> bool:
    return came.boot_id == before.boot_id and came.sequence < before.sequence
