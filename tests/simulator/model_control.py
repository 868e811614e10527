"""The leader's shell in virtual time: save, then deliver; etcd by compare-and-swap; leaders that die."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.assignment import Assignment
from common.ids import ClusterName
from orchestrator.core import events as ev
from orchestrator.core.decision import Decision, Grant
from orchestrator.core.effects import AskObservers, ProbeSql, PublishNames, Story
from orchestrator.core.engine import Engine
from orchestrator.core.events import Event, NameOutcome, ProbeAnswer
from orchestrator.core.record import Record
from orchestrator.core.spec import ClusterSpec
from tests.simulator.world import World

ETCD_ID = 77
_TICK_EVERY_US = 100_000
_REPEATED_EVERY_US = 500_000


@dataclass(slots=True)
class ModelEtcd:
    """One record, compared by term and revision."""

    record: Record | None = None
    revision: int = 100
    record_revision: int = 0
    term: int = 0

    def elect(self) -> int:
        self.revision += 1
        self.term = self.revision
        return self.term

    def save(self, record: Record, expected: int, term: int) -> int | None:
        if term != self.term or expected != self.record_revision:
            return None
        self.revision += 1
        self.record_revision = self.revision
        self.record = record
        return self.revision


class Control:
    """One control node that leads until it is killed."""

    def __init__(
        self,
        world: World,
        etcd: ModelEtcd,
        spec: ClusterSpec,
        deliver: Callable[[Assignment], None],
        probe: Callable[[str], ProbeAnswer],
        on_saved: Callable[[Record | None, Record], None],
    ) -> None:
        self.world, self.etcd, self.spec = world, etcd, spec
        self.deliver, self.probe, self.on_saved = deliver, probe, on_saved
        self.engine = Engine(ClusterName(spec.name))
        self.alive = True
        self.term = 0
        self.stories: list[Story] = []
        self.grant: Grant | None = None
        """Of the newest decision."""
        self.fail_after_save = 0
        """Killed when so many saves were done: between saving and dispatching."""
        self.fail_in_dispatch = 0
        """Killed when so many orders were handed out: the rest of them is never delivered."""
        self._sent: dict[str, tuple[Assignment, int]] = {}
        self._again_at = 0
        self._turning = False
        self._tick()

    def lead(self) -> None:
        self.term = self.etcd.elect()
        self.feed(ev.LeadershipGained(self.world.now, self.term, ETCD_ID, (), self.engine.view.version))
        self.feed(ev.SpecLoaded(self.world.now, self.spec))
        self._load()

    def die(self) -> None:
        self.alive = False

    def _load(self) -> None:
        self.feed(ev.RecordLoaded(self.world.now, self.etcd.record, self.etcd.record_revision))

    def feed(self, event: Event, *, urgent: bool = True) -> None:
        """What is not urgent (a beat that says nothing new) waits for the tick, as in the daemon."""
        if self.alive:
            self.engine.feed(event)
            if urgent:
                self._turn_soon()

    def _tick(self) -> None:
        if self.alive:
            self._turn_soon()
            self.world.after(_TICK_EVERY_US, self._tick)

    def _turn_soon(self) -> None:
        if not self._turning:
            self._turning = True
            self.world.after(self.world.between(50, 500), self._turn)

    def _turn(self) -> None:
        self._turning = False
        if not self.alive or not self.term:
            return
        decision = self.engine.turn(self.world.now)
        self.grant = decision.grant
        if decision.record is not None:
            self._turning = True
            self.world.after(self.world.between(500, 4_000), lambda: self._save(decision))
            return
        self._dispatch(decision)
        again_at = decision.again_at_us
        if again_at is not None and again_at != self._again_at and again_at > self.world.now_us:
            self._again_at = again_at
            self.world.after(again_at - self.world.now_us, self._turn_soon)

    def _save(self, decision: Decision) -> None:
        self._turning = False
        if not self.alive:
            return
        assert decision.record is not None
        before, expected = self.etcd.record, self.engine.view.revision
        revision = self.etcd.save(decision.record, expected, self.term)
        if revision is not None:
            self.on_saved(before, decision.record)
        if self.world.chance(40):
            self.world.count("unknown outcomes")
            self._load()  # the answer was lost: read back, never repeated blindly
            return
        if revision is None:
            if self.term != self.etcd.term:
                self.term = 0
                self.feed(ev.LeadershipLost(self.world.now))
            else:
                self._load()
            return
        if self.fail_after_save:
            self.fail_after_save -= 1
            if not self.fail_after_save:
                self.world.count("leaders killed after a save")
                self.die()
                return
        self.feed(ev.RecordSaved(self.world.now, decision.record, revision))
        self._perform(decision)

    def _dispatch(self, decision: Decision) -> None:
        for assignment in decision.assignments:
            last = self._sent.get(assignment.member)
            if last is not None and last[0] == assignment and self.world.now_us < last[1]:
                continue
            self._sent[assignment.member] = (assignment, self.world.now_us + _REPEATED_EVERY_US)
            self.deliver(assignment)
            if self.fail_in_dispatch:
                self.fail_in_dispatch -= 1
                if not self.fail_in_dispatch:
                    self.world.count("leaders killed in a dispatch")
                    self.die()
                    return
        self._perform(decision)

    def _perform(self, decision: Decision) -> None:
        for effect in decision.effects:
            match effect:
                case Story():
                    self.stories.append(effect)
                    self.world.note(f"story {effect.epoch} {effect.name}: {effect.text} {effect.final}")
                case ProbeSql(member):
                    self.world.after(
                        self.world.between(1_000, 150_000),
                        lambda m=member: self.feed(ev.SqlProbed(self.world.now, m, self.probe(m))),  # type: ignore[misc]
                    )
                case PublishNames(wanted):
                    self.world.after(
                        self.world.between(2_000, 20_000),
                        lambda w=wanted: self.feed(  # type: ignore[misc]
                            ev.NamesAnswered(
                                self.world.now, NameOutcome.CONFIRMED, w.epoch, w.revision, wanted=w
                            )
                        ),
                    )
                case AskObservers():
                    pass
                case _:
                    pass
