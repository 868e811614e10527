"""What a script may do to a PostgreSQL and see of it, whichever stands behind: the model, or a real server.

A `Server` performs the agents' own steps (`agents/core/steps.py`), so that the simulator's mapping of them
(`tests/simulator/agent_steps.py`) is compared as well, and has faults and looks that no agent has.
Rule of admission: a verb that at least one script needs and that both sides can do; no times and no LSNs come
out of it but as something to hand in again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from enum import StrEnum

import psycopg

from agents.core import steps as st
from common.assignment import Upstream
from common.facts import PostgresState
from common.lsn import Lsn
from common.rule import FENCE

NOBODY = "ANY 1 (nobody)"
"""A rule that no server here satisfies, as the fence, but not the fence."""
SOLO = ""
TRIAL = 999
"""A row that no script looks for."""
PROMOTE = st.PromotePostgres(within_ms=10_000)


class Answer(StrEnum):
    """What a client has been told of its commit."""

    ACKNOWLEDGED = "acknowledged"
    WARNED = "answered with a warning"
    """WARNING: the transaction has already committed locally, but might not have been replicated to the standby."""
    LOST = "lost"
    """Its connection ended before an answer came."""
    WAITS = "waits"


class Refused(Exception):
    """PostgreSQL did not take what was asked of it."""


class Commit(ABC):
    """One client's insert of one row, begun; its session is its own."""

    @abstractmethod
    def answer(self) -> Answer: ...

    @abstractmethod
    async def seen_waiting(self) -> bool:
        """Wait until it is seen waiting for a synchronous standby, or is answered."""

    @abstractmethod
    async def outcome(self) -> Answer:
        """Wait for the answer, patiently."""

    @abstractmethod
    async def after_a_while(self) -> Answer:
        """Wait for an answer that should not come: several times as long as one would take."""

    @abstractmethod
    async def cancel(self) -> Answer:
        """As pg_cancel_backend, or a driver's timeout; answers what the client is told then."""

    @abstractmethod
    async def terminate(self) -> Answer:
        """As pg_terminate_backend."""


class Orphan(ABC):
    """A backend of a postmaster that is gone; it was busy, and is about to commit a row."""

    @abstractmethod
    async def goes_on(self) -> Answer:
        """Let it commit; wait until it has, and is gone."""


class HandStandby(ABC):
    """A standby driven by hand: it reports exactly what it is told to, and keeps nothing."""

    @abstractmethod
    async def report(self, flushed: int) -> None:
        """From now on, until it falls silent. Never less than before: no receiver does that, and the model says
        nothing of it (PostgreSQL believes it, and takes 0 for "knows nothing yet")."""

    @abstractmethod
    async def fall_silent(self) -> None:
        """It says nothing more, and does not close its connection."""


class Server(ABC):
    """One data directory, made from the template of all, and what runs over it."""

    name: str

    # Time: awaited on one side, drawn from the world on the other

    @abstractmethod
    async def holds(self, condition: Callable[[], Awaitable[bool]], *, for_a_while: bool = False) -> bool:
        """Wait until it does: patiently, or only for a while where it should not."""

    async def never(self, condition: Callable[[], Awaitable[bool]]) -> bool:
        """Not now, and not for a while."""
        return not await self.holds(condition, for_a_while=True)

    # What an agent does

    @abstractmethod
    async def perform(self, step: st.Step) -> st.Outcome: ...

    @property
    @abstractmethod
    def upstream(self) -> Upstream: ...

    def stream_from(self, upstream: Server, epoch: int) -> st.Stream:
        return st.Stream(upstream.upstream, self.streams_as(epoch), f"{self.name}_1_e{epoch}", epoch)

    def streams_as(self, epoch: int = 1) -> str:
        return f"{self.name}.1@{epoch}"

    async def serve(self, rule: str = SOLO) -> None:
        """Start as a primary; the table is there from the first time on."""
        await self.perform(st.WriteSettings(rule))
        await self.perform(st.StartPrimary())
        await self.has_table()

    @abstractmethod
    async def has_table(self) -> None: ...

    async def put_in_force(self, rule: str) -> None:
        """Written and reloaded: whatever is started from now on has it, what runs takes it in its own time."""
        await self.perform(st.WriteSettings(rule))

        async def seen() -> bool:
            return await self.perform(st.SeeRule()) == rule

        assert await self.holds(seen), f"{rule} did not come into force on {self.name}"

    async def makes_commits_wait(self, rule: str) -> None:
        """In force also for the checkpointer, which says whether any commit waits (E7): tried with other rows."""
        await self.put_in_force(rule)

        async def one_waits() -> bool:
            return await (await self.insert(TRIAL)).seen_waiting()

        assert await self.holds(one_waits), f"no commit waits on {self.name}"

    async def insert_and_wait(self, row: int) -> Commit:
        commit = await self.insert(row)
        assert await commit.seen_waiting(), f"{self.name}: {row} is {commit.answer()}"
        return commit

    async def follow(self, upstream: Server, *, epoch: int = 1) -> None:
        """As one that fits: with its slot, and awaited."""
        await self.point_at(upstream, epoch=epoch)
        assert await upstream.streams_to(self, epoch=epoch), f"{self.name} does not follow {upstream.name}"

    async def point_at(self, upstream: Server, *, epoch: int = 1, slot: bool = True) -> None:
        """Address, name and slot of the epoch; nothing is checked and nothing awaited."""
        stream = self.stream_from(upstream, epoch)
        if slot:
            await upstream.perform(st.MakeSlots((stream.slot,), epoch))
        await self.perform(st.WriteSettings(FENCE, stream))
        await self.perform(st.StartStandby())

    async def seal(self) -> st.EndOfWal:
        """As `agents/core/recipe_seal.py` does it for a standby, without what is stored."""
        await self.withdraw()
        await self.perform(st.EndReceivers())
        return await self.measure()

    async def withdraw(self) -> None:
        """Only R1 (2): the address, name and slot of its upstream, and a reload."""
        await self.perform(st.WriteSettings(FENCE))

    async def measure(self) -> st.EndOfWal:
        end = await self.perform(st.MeasureEnd())
        assert isinstance(end, st.EndOfWal)
        return end

    async def promote(self) -> int:
        """Answers the timeline."""
        done = await self.perform(PROMOTE)
        assert isinstance(done, st.Promoted)
        return done.timeline

    async def role(self) -> PostgresState:
        sight = await self.perform(st.Look())
        assert isinstance(sight, st.Sight)
        return sight.postgres

    async def is_primary(self) -> bool:
        return await self.role() is PostgresState.PRIMARY

    async def place_histories_of(self, upstream: Server) -> None:
        """As before attaching (R9): the real file first, then those of the gap."""
        sight = await upstream.perform(st.Look())
        assert isinstance(sight, st.Sight)
        await self.perform(st.PlaceHistories(sight.timeline, sight.history))

    async def histories(self) -> tuple[str, ...]:
        """`2 placeholder`, `3 real`: what lies in pg_wal, lowest first."""
        files = await self.perform(st.ListHistories(above=1))
        assert isinstance(files, tuple)
        return tuple(f"{file.timeline} {'placeholder' if file.placeholder else 'real'}" for file in files)

    async def walsenders(self, name: str) -> frozenset[int]:
        """Their pids; of those that stream."""
        with suppress(st.StepFailed, psycopg.Error):
            found = await self.perform(st.ListWalsenders())
            assert isinstance(found, tuple)
            return frozenset(one.pid for one in found if one.application_name == name and one.streaming)
        return frozenset()

    async def streams_to(self, follower: Server, *, epoch: int = 1) -> bool:
        async def seen() -> bool:
            return bool(await self.walsenders(follower.streams_as(epoch)))

        return await self.holds(seen)

    async def stop(self, *, clean: bool) -> bool:
        """Answers whether it was clean."""
        outcome = await self.perform(st.StopPostgres(clean=clean, clean_within_ms=5_000))
        assert isinstance(outcome, st.StopOutcome)
        return outcome.clean

    # What clients do and see

    @abstractmethod
    async def insert(self, row: int) -> Commit: ...

    @abstractmethod
    async def write_much(self) -> None:
        """So much WAL that no page image of a later commit outweighs it; no script looks for it."""

    @abstractmethod
    async def write_some(self) -> None:
        """Less than a walsender sends at once, and more than the page images of a few commits elsewhere."""

    async def has_inserted(self, row: int) -> None:
        commit = await self.insert(row)
        answer = await commit.outcome()
        assert answer is Answer.ACKNOWLEDGED, f"{self.name}: {row} is {answer}"

    @abstractmethod
    async def rows(self) -> frozenset[int]:
        """What a new session sees; of a standby, what it has replayed. Empty where nobody is let in."""

    async def shows(self, row: int) -> bool:
        async def seen() -> bool:
            return row in await self.rows()

        return await self.holds(seen)

    # Looks of the experimenter

    @abstractmethod
    async def position(self) -> int:
        """Of a primary: all that it has flushed. Only to be handed in again."""

    @abstractmethod
    async def has_received(self, position: int) -> bool:
        """Wait until this standby has flushed that much."""

    @abstractmethod
    async def has_receiver(self) -> bool: ...

    async def lacks_receiver(self) -> bool:
        return not await self.has_receiver()

    @abstractmethod
    async def has_slot(self, name: str) -> bool: ...

    @abstractmethod
    async def has_standby_signal(self) -> bool: ...

    @abstractmethod
    async def lets_a_new_session_in(self) -> bool: ...

    # What is done to it

    async def kill(self) -> None:
        """Every process at once; nothing of it is left."""
        await self.kill_all()
        await self.stop(clean=False)

    @abstractmethod
    async def kill_all(self) -> None: ...

    @abstractmethod
    async def leave_orphan(self, row: int) -> Orphan:
        """SIGKILL to the postmaster alone while one backend is busy, and about to commit this row."""

    @abstractmethod
    async def start_as_it_lies(self) -> PostgresState:
        """By hand, without an agent's care; STOPPED: it refused."""

    @abstractmethod
    async def freeze(self) -> None: ...

    @abstractmethod
    async def thaw(self) -> None: ...

    @abstractmethod
    async def stall_checkpointer(self) -> None: ...

    @abstractmethod
    async def go_on_checkpointer(self) -> None: ...

    @abstractmethod
    async def stall_walsender(self, name: str) -> None:
        """The only one of that name; what is in force in it stays."""

    @abstractmethod
    async def go_on_walsender(self, name: str) -> None: ...

    @abstractmethod
    async def pause_replay(self) -> None: ...

    @abstractmethod
    async def signal_promotion(self) -> None:
        """Ordered, and not looked after."""

    @abstractmethod
    async def lose_histories(self, timelines: Iterable[int]) -> None:
        """The files are gone, also while it runs."""

    @abstractmethod
    async def attach_by_hand(self, name: str, slot: str = "") -> HandStandby:
        """Raise Refused. Once it streams."""

    @abstractmethod
    async def rewind(self, source: Server) -> bool:
        """pg_rewind and nothing before it, no CHECKPOINT on the source; answers whether it found anything to do."""

    async def checkpoint_and_rewind(self, source: Server) -> bool:
        await source.perform(st.Checkpoint(within_ms=20_000))
        return await self.rewind(source)


def row_is_below(end: st.EndOfWal, position: int) -> bool:
    return end.end_lsn >= Lsn(position)
