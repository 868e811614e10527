"""The agents' streams and what each member is asked: sent on change, repeated until its facts agree.

Level-triggered: only the newest assignment of a member is kept; a stream that is slow skips those between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from common.assignment import Assignment, Seal, Version
from common.codec import encode
from common.ids import ClusterName, IncarnationId, MemberName

REPEAT_EVERY_MS = 1_000

Who = tuple[ClusterName, MemberName]


class Stream:
    """One agent's open session. The session writes; `next_order` tells it what and when."""

    def __init__(self, who: Who, incarnation: IncarnationId) -> None:
        self.who, self.incarnation = who, incarnation
        self.obeyed: Version | None = None
        self.ended = asyncio.Event()
        self._wanted: Assignment | None = None
        self._written: Assignment | None = None
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def offer(self, assignment: Assignment | None) -> None:
        if assignment != self._wanted:
            self._wanted = assignment
            self._look_again()

    def heard(self, incarnation: IncarnationId, obeyed: Version) -> None:
        """From its facts: what it obeyed, and who it is now."""
        self.obeyed = obeyed
        if incarnation != self.incarnation:
            self.incarnation = incarnation
            self._look_again()

    async def next_order(self) -> bytes:
        """The assignment to write now, as JSON; waits while there is nothing to say."""
        while True:
            wanted = self._wanted
            mine = wanted is not None and wanted.incarnation == self.incarnation
            if wanted is not None and mine and wanted != self._written and not self._can_wait(wanted):
                self._written = wanted
                return encode(wanted)
            self._idle.set()
            agreed = wanted is None or not mine or self.obeyed == wanted.version
            self._changed.clear()
            try:
                async with asyncio.timeout(None if agreed else REPEAT_EVERY_MS / 1000):
                    await self._changed.wait()
            except TimeoutError:
                if wanted is not None and wanted is self._wanted and self.obeyed != wanted.version:
                    self._written = wanted
                    return encode(wanted)

    def _can_wait(self, wanted: Assignment) -> bool:
        """Until it is repeated: while a candidate is promoted the others stay sealed, and need no disk and no processor
        to be told so. What comes next is written at once, and is the higher version anyway (R7)."""
        before = self._written
        return (
            before is not None
            and isinstance(wanted.order, Seal)
            and before.order == wanted.order
            and before.incarnation == wanted.incarnation
            and before.version.epoch == wanted.version.epoch
        )

    async def idle(self) -> None:
        """Once the newest was handed to gRPC."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._idle, self.ended)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    def _look_again(self) -> None:
        self._idle.clear()
        self._changed.set()


class AssignmentStreams:
    def __init__(self) -> None:
        self._newest: dict[Who, Assignment] = {}
        self._streams: dict[Who, Stream] = {}

    @property
    def count(self) -> int:
        return len(self._streams)

    def open(self, cluster: ClusterName, member: MemberName, incarnation: IncarnationId) -> Stream:
        """The newest session of a member wins; an older one is ended."""
        who = (cluster, member)
        older = self._streams.get(who)
        if older is not None:
            older.ended.set()
        stream = self._streams[who] = Stream(who, incarnation)
        stream.offer(self._newest.get(who))
        return stream

    def close(self, stream: Stream) -> bool:
        """Whether it was the member's newest."""
        stream.ended.set()
        if self._streams.get(stream.who) is not stream:
            return False
        del self._streams[stream.who]
        return True

    def offer(self, cluster: ClusterName, assignments: Sequence[Assignment]) -> None:
        for assignment in assignments:
            who = (cluster, assignment.member)
            self._newest[who] = assignment
            stream = self._streams.get(who)
            if stream is not None:
                stream.offer(assignment)

    async def written(self, cluster: ClusterName) -> None:
        for stream in [stream for who, stream in self._streams.items() if who[0] == cluster]:
            await stream.idle()

    def close_all(self) -> None:
        self._newest.clear()
        for stream in self._streams.values():
            stream.ended.set()
        self._streams.clear()
