"""Parts of the shell's world that are ports, in memory: a scripted engine, records, and what effects do."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from common.assignment import Assignment, Seal, Version
from common.errors import FailoverError
from common.ids import ClusterName, IncarnationId, MemberName
from common.rule import SOLO, Rule
from common.timebase import Instant
from orchestrator.core.decision import Decision, Grant
from orchestrator.core.effects import Effect, Story
from orchestrator.core.engine import Engine
from orchestrator.core.events import (
    Event,
    NamesAnswered,
    ObserverAnswered,
    ObserverFailed,
    ProbeAnswer,
    SpecLoaded,
)
from orchestrator.core.names import WantedNames
from orchestrator.core.reasons import Because, Reason
from orchestrator.core.record import MemberRecord, Phase, Record
from orchestrator.ports import Conflict, StoredRecord, Term
from orchestrator.shell.dispatch import Dispatch
from orchestrator.shell.failpoints import Failpoints
from orchestrator.shell.highest_seen import HighestSeen
from orchestrator.shell.inbox import Inbox, Quiet
from orchestrator.shell.leases import Leases, Proof
from orchestrator.shell.loop import Loop
from orchestrator.telemetry.audit import Audit
from orchestrator.telemetry.metrics import Metrics
from tests.orchestrator.control_node import spec_of

SHOP = ClusterName("shop")
A = MemberName("a")
TERM = Term(create_revision=4, key="election", lease_id=1)
CALM = Decision((Because(Reason.PRIMARY_HEALTHY),))


class HandClock:
    """Moves only when a test says so."""

    def __init__(self) -> None:
        self.at = Instant(1_000_000)

    def now(self) -> Instant:
        return self.at

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + self.at // 1000

    def forward_ms(self, duration_ms: int) -> None:
        self.at = Instant(self.at + duration_ms * 1000)


def record(epoch: int = 1, phase: Phase = Phase.STABLE, rules: tuple[Rule, ...] = (SOLO,)) -> Record:
    member = MemberRecord(A, "127.0.9.1", ("127.0.9.1",), 5432, "", 100, False, 1, IncarnationId("0" * 16))
    return Record(SHOP, epoch, phase, (member,), primary=A, timeline=1, timeline_max=1, rules=rules)


def deciding(
    to_save: Record | None = None,
    *,
    grant_epoch: int = 0,
    assign: int = 0,
    effects: tuple[Effect, ...] = (),
    again_at_us: int | None = None,
) -> Decision:
    """`assign`: an assignment of this revision."""
    grant = Grant(A, grant_epoch, 5_000) if grant_epoch else None
    assignments = (assignment(assign),) if assign else ()
    because = (Because(Reason.PRIMARY_HEALTHY),)
    return Decision(because, to_save, assignments, effects, grant=grant, again_at_us=again_at_us)


def assignment(revision: int, epoch: int = 1) -> Assignment:
    return Assignment(SHOP, A, IncarnationId("0" * 16), 1, Version(epoch, revision), "", Seal())


class ScriptedEngine(Engine):
    """Says what the script says, then that all is well; notes what it was fed."""

    def __init__(self, cluster: ClusterName, diary: list[str]) -> None:
        super().__init__(cluster)
        self.script: deque[Decision] = deque()
        self.fed: list[Event] = []
        self._diary = diary

    def feed(self, event: Event) -> None:
        self.fed.append(event)

    def turn(self, now: Instant) -> Decision:
        self._diary.append("decided")
        return self.script.popleft() if self.script else CALM

    def was_fed(self, kind: type[Event]) -> bool:
        return any(isinstance(event, kind) for event in self.fed)


@dataclass
class MemoryRecords:
    """`failing`: what the next calls raise instead; `stores_first` whether they store all the same."""

    diary: list[str]
    stored: StoredRecord | None = None
    failing: deque[FailoverError] = field(default_factory=deque)
    loads_failing: deque[FailoverError] = field(default_factory=deque)
    stores_first: bool = False
    on_save: Callable[[], None] = lambda: None
    etcd_cluster_id: int | None = 7

    async def load(self, cluster: str) -> StoredRecord | None:
        self.diary.append("loaded")
        if self.loads_failing:
            raise self.loads_failing.popleft()
        return self.stored

    async def save(self, cluster: str, body: bytes, expected_mod_revision: int, term: Term) -> int:
        self.on_save()
        revision = 0 if self.stored is None else self.stored.mod_revision
        if self.failing:
            error = self.failing.popleft()
            if self.stores_first:
                self.stored = StoredRecord(body, revision + 1)
            self.diary.append(f"save failed: {type(error).__name__}")
            raise error
        if expected_mod_revision != revision:
            self.diary.append("conflict")
            raise Conflict("record", expected=expected_mod_revision, found=revision)
        self.diary.append("saved")
        self.stored = StoredRecord(body, revision + 1)
        return revision + 1


@dataclass
class World:
    """What effects touch; everything is noted in the diary."""

    diary: list[str]
    published: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, cluster: ClusterName, assignments: Sequence[Assignment]) -> None:
        self.diary.extend(f"assigned {one.version.revision}" for one in assignments)

    async def written(self, cluster: ClusterName) -> None: ...

    def close_all(self) -> None:
        self.diary.append("streams closed")

    def names(self) -> tuple[str, ...]:
        return ("control2",)

    async def ask(
        self, node: str, cluster: ClusterName, member: MemberName, within_ms: int
    ) -> ObserverAnswered | ObserverFailed:
        return ObserverFailed(Instant(0), node, member)

    async def probe(self, address: str, port: int, within_ms: int) -> ProbeAnswer:
        return ProbeAnswer.REFUSED

    def keep_warm(self, cluster: ClusterName, address: str, port: int) -> None: ...

    async def publish(self, wanted: WantedNames, say: Callable[[NamesAnswered], None]) -> None:
        self.diary.append("publishing")
        try:
            await self.published.wait()
        except asyncio.CancelledError:
            self.diary.append("publishing cancelled")
            raise

    def tell(self, cluster: ClusterName, story: Story) -> None:
        self.diary.append(f"told {story.name}")


@dataclass
class Shell:
    """The production loop and dispatch between fakes."""

    clock: HandClock
    diary: list[str]
    engine: ScriptedEngine
    records: MemoryRecords
    inbox: Inbox
    leases: Leases
    loop: Loop
    stood_down: list[str]

    async def lead(self) -> None:
        self.loop.lead(TERM)
        await self.loop.run_turn()

    async def turn(self, *script: Decision) -> list[str]:
        """A turn of the shop with this script; return what happened in it."""
        self.engine.script.extend(script)
        before = len(self.diary)
        self.inbox.put(SHOP, SpecLoaded(self.clock.now(), spec_of()))
        await self.loop.run_turn()
        return self.diary[before:]


@asynccontextmanager
async def shell(
    folder: Path,
    *,
    failpoints: Failpoints | None = None,
    quiet: Quiet | None = None,
    make_engine: Callable[[ClusterName], Engine] | None = None,
) -> AsyncIterator[Shell]:
    """One cluster is known, nobody leads. `make_engine`: of every cluster but this one."""
    clock, diary, metrics = HandClock(), list[str](), Metrics()
    records, world, inbox = MemoryRecords(diary), World(diary), Inbox(clock, quiet=quiet)
    proof: Callable[[], Proof | None] = lambda: Proof(TERM.create_revision, clock.now())  # noqa: E731
    leases, stood_down = Leases(clock, proof), list[str]()
    engine = ScriptedEngine(SHOP, diary)

    async def stand_down(text: str) -> None:
        stood_down.append(text)

    giving_up: Callable[[str], Awaitable[None]] = stand_down
    dispatch = Dispatch(
        clock=clock, inbox=inbox, metrics=metrics, assignments=world, observers=world, prober=world,
        publisher=world, stories=world, stand_down=giving_up, failpoints=failpoints,
    )  # fmt: skip
    loop = Loop(
        clock=clock, inbox=inbox, records=records, dispatch=dispatch, leases=leases,
        highest_seen=HighestSeen(folder), metrics=metrics, audit=Audit(metrics),
        other_nodes=lambda: (), failpoints=failpoints,
        make_engine=lambda name: engine if make_engine is None or name == SHOP else make_engine(name),
    )  # fmt: skip
    async with asyncio.TaskGroup() as group:
        running = group.create_task(dispatch.run())
        await asyncio.sleep(0)
        made = Shell(clock, diary, engine, records, inbox, leases, loop, stood_down)
        await made.turn()
        yield made
        running.cancel()
