"""The port on the simulator's model PostgreSQL, in virtual time.

Steps go through the simulator's own `agent_steps.perform`. What a script does that the swarm leaves to the dice
(a stalled walsender, an orphan) is done here by hand, and nothing else is changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from agents.core import steps as st
from common.assignment import Upstream
from common.facts import PostgresState
from common.ids import MemberName
from common.profile import DEFAULT
from tests.contract.postgres.port import Answer, Commit, HandStandby, Orphan, Refused, Server
from tests.simulator.agent_steps import perform
from tests.simulator.model_agent import Agent
from tests.simulator.model_copy import finds_nothing_to_do
from tests.simulator.model_host import Host
from tests.simulator.model_parts import Conf, Entry, Walsender
from tests.simulator.model_postgres import Postgres
from tests.simulator.world import World

_LOOK_EVERY_US = 2_000
_PATIENCE_US = 20_000_000
_A_WHILE_US = 8_000_000
"""Beyond the latest that any part of the model takes up a reload."""
_FOR_EVER_US = 1 << 60


class HeldPostgres(Postgres):
    """A walsender of it can be stalled: it takes no reload and reads no reply."""

    def __init__(self, world: World, member: str, find: Callable[[str], Postgres | None]) -> None:
        super().__init__(world, member, find)
        self.stalled: set[str] = set()

    def _reload_sender(self, sender: Walsender) -> None:
        if sender.name in self.stalled:
            self.later(_LOOK_EVERY_US, _LOOK_EVERY_US, lambda: self._reload_sender(sender))
        else:
            Postgres._reload_sender(self, sender)

    def release(self, sender: Walsender) -> None:
        assert sender.name not in self.stalled, "a stalled walsender reads no reply: no script may send one"
        Postgres.release(self, sender)


class ModelCommit(Commit):
    def __init__(self, server: ModelServer, row: int) -> None:
        self._server = server
        self._answer = Answer.WAITS
        postgres = server.postgres
        self._run = postgres.run
        self._entry = postgres.commit(row, self._acknowledged)

    def _acknowledged(self) -> None:
        if self._answer is Answer.WAITS:
            self._answer = Answer.ACKNOWLEDGED

    def answer(self) -> Answer:
        ended = self._server.postgres.run != self._run
        if self._answer is Answer.WAITS and (ended or self._entry is None):
            self._answer = Answer.LOST
        return self._answer

    def _is_waiting(self) -> bool:
        return any(waiter.entry is self._entry for waiter in self._server.postgres.waiters)

    async def seen_waiting(self) -> bool:
        self._server.until(lambda: self._is_waiting() or self.answer() is not Answer.WAITS, _PATIENCE_US)
        return self._is_waiting()

    async def outcome(self) -> Answer:
        self._server.until(lambda: self.answer() is not Answer.WAITS, _PATIENCE_US)
        return self.answer()

    async def after_a_while(self) -> Answer:
        self._server.until(lambda: self.answer() is not Answer.WAITS, _A_WHILE_US)
        return self.answer()

    async def cancel(self) -> Answer:
        return self._end(Answer.WARNED)

    async def terminate(self) -> Answer:
        return self._end(Answer.LOST)

    def _end(self, told: Answer) -> Answer:
        assert self._entry is not None
        if self._server.postgres.cancel_wait(self._entry):
            self._answer = told
        return self._answer


class ModelOrphan(Orphan):
    def __init__(self, server: ModelServer, row: int) -> None:
        self._server, self._row = server, row

    async def goes_on(self) -> Answer:
        commit = ModelCommit(self._server, self._row)
        await commit.after_a_while()
        self._server.until(lambda: not self._server.postgres.anything_left, _PATIENCE_US)
        return commit.answer()


class ModelHand(HandStandby):
    """A follower of the model whose own process stands still, so that it pulls nothing."""

    def __init__(self, follower: Postgres) -> None:
        self._follower = follower

    async def report(self, flushed: int) -> None:
        receiver = self._follower.receiver
        assert receiver is not None
        self._follower._reply(receiver, flushed)

    async def fall_silent(self) -> None:
        """It says nothing that it is not told to say anyway."""


class ModelServer(Server):
    def __init__(
        self, world: World, name: str, servers: dict[str, ModelServer], kind: type[HeldPostgres]
    ) -> None:
        self.world, self.name = world, name
        self._servers = servers
        self.postgres = kind(world, name, self._find)
        self.agent = Agent(world, "shop", name, self.postgres, DEFAULT, lambda agent: None)
        # The scripts take its place: it begins no recipe, and its guard starts no other one.
        self.agent.host.guard.die()
        self.agent.die()
        self.postgres.state = PostgresState.STOPPED
        self.postgres.system_identifier = "1"
        servers[name] = self

    def _find(self, name: str) -> Postgres | None:
        return self._servers[name].postgres if name in self._servers else None

    # Time

    def until(self, condition: Callable[[], bool], within_us: int) -> bool:
        deadline_us = self.world.now_us + within_us
        while not condition():
            if self.world.now_us >= deadline_us:
                return False
            self.world.run_until(self.world.now_us + _LOOK_EVERY_US)
        return True

    async def holds(self, condition: Callable[[], Awaitable[bool]], *, for_a_while: bool = False) -> bool:
        deadline_us = self.world.now_us + (_A_WHILE_US if for_a_while else _PATIENCE_US)
        while not await condition():
            if self.world.now_us >= deadline_us:
                return False
            self.world.run_until(self.world.now_us + _LOOK_EVERY_US)
        return True

    # What an agent does

    async def perform(self, step: st.Step) -> st.Outcome:
        takes_us, act = perform(self.agent, step)
        self.world.run_until(self.world.now_us + takes_us)
        return act()

    @property
    def upstream(self) -> Upstream:
        return Upstream(MemberName(self.name), f"host-{self.name}", 5432)

    async def has_table(self) -> None:
        pass

    # What clients do and see

    async def insert(self, row: int) -> Commit:
        return ModelCommit(self, row)

    async def write_much(self) -> None:
        for _ in range(40):
            self.postgres.local_commit()

    async def write_some(self) -> None:
        for _ in range(4):
            self.postgres.local_commit()

    async def rows(self) -> frozenset[int]:
        postgres = self.postgres
        if not postgres.running:
            return frozenset()
        standby = postgres.state is PostgresState.STANDBY
        upto = postgres.replayed_end if standby else postgres.flushed_end
        unseen = {id(waiter.entry) for waiter in postgres.waiters}
        return frozenset(
            e.content for e in postgres.log if _is_row(e) and e.end <= upto and id(e) not in unseen
        )

    # Looks

    async def position(self) -> int:
        return self.postgres.flushed_end

    async def has_received(self, position: int) -> bool:
        return self.until(lambda: self.postgres.end >= position, _PATIENCE_US)

    async def has_receiver(self) -> bool:
        return self.postgres.receiver is not None

    async def has_slot(self, name: str) -> bool:
        return name in self.postgres.slots

    async def has_standby_signal(self) -> bool:
        return self.postgres.standby_signal

    async def lets_a_new_session_in(self) -> bool:
        self.postgres.open_door()
        return self.postgres.takes_new_sessions

    # What is done to it

    async def kill_all(self) -> None:
        self.postgres.crash()

    async def leave_orphan(self, row: int) -> Orphan:
        self.postgres.leave_orphans()
        return ModelOrphan(self, row)

    async def start_as_it_lies(self) -> PostgresState:
        self.postgres.begin_start(100_000)
        self.until(lambda: self.postgres.state is not PostgresState.STARTING, _PATIENCE_US)
        return self.postgres.state if self.postgres.running else PostgresState.STOPPED

    async def freeze(self) -> None:
        self.agent.host.postgres_process.freeze()

    async def thaw(self) -> None:
        self.agent.host.postgres_process.thaw()

    async def stall_checkpointer(self) -> None:
        self.postgres.checkpointer_stalls_until = _FOR_EVER_US

    async def go_on_checkpointer(self) -> None:
        self.postgres.checkpointer_stalls_until = 0

    async def stall_walsender(self, name: str) -> None:
        self.postgres.stalled.add(name)

    async def go_on_walsender(self, name: str) -> None:
        self.postgres.stalled.discard(name)

    async def pause_replay(self) -> None:
        self.postgres.hold_replay("paused", _FOR_EVER_US)

    async def signal_promotion(self) -> None:
        self.postgres.promote()

    async def lose_histories(self, timelines: Iterable[int]) -> None:
        for timeline in timelines:
            self.postgres.histories.pop(timeline, None)

    async def attach_by_hand(self, name: str, slot: str = "") -> HandStandby:
        member = f"hand {len(self._servers)} {name} {len(self.postgres.senders)}"
        follower = Postgres(self.world, member, self._find)
        follower.host = Host(self.world, member)
        follower.state = PostgresState.STANDBY
        follower.log = list(self.postgres.log)
        follower.timeline, follower.history = self.postgres.timeline, self.postgres.history
        if not slot:
            slot = member
            self.postgres.slots.add(slot)
        follower.conf = Conf(upstream=self.name, name=name, slot=slot, epoch=1)
        follower._connect()
        senders = self.postgres.senders
        if not self.until(lambda: any(s.follower is follower and s.streaming for s in senders), _A_WHILE_US):
            raise Refused(f"{name} is not let in")
        follower.host.postgres_process.freeze()
        return ModelHand(follower)

    async def rewind(self, source: Server) -> bool:
        assert isinstance(source, ModelServer)
        if finds_nothing_to_do(self.postgres, source.postgres):
            return False
        self.postgres.begin_copy(rewind=True)
        self.postgres.copy_from(source.postgres, keep_files=True)
        return True


def _is_row(entry: Entry) -> bool:
    return entry.content > 0


def model_servers(seed: int, names: str, kind: type[HeldPostgres] = HeldPostgres) -> dict[str, ModelServer]:
    """`kind`: another model, which is wrong (test_wrong_models.py)."""
    world, servers = World(seed), dict[str, ModelServer]()
    for name in names:
        ModelServer(world, name, servers, kind)
    return servers
