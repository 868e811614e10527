"""A control node in virtual time: the production engine inside a shell that keeps orchestrator/shell's order.

Events wait in an inbox, where the newest word of a member wins; a turn drains it into the engine, decides,
saves, and only then delivers. While etcd is asked, nothing else is decided. A node may be killed at any step,
or frozen: then what reaches it waits, and all of its timers go off late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from common.assignment import Version
from common.facts import NO_VERSION, Facts
from common.ids import ClusterName, MemberName
from common.timebase import Instant
from orchestrator.core import events as ev
from orchestrator.core.decision import Decision
from orchestrator.core.effects import Story
from orchestrator.core.engine import Engine
from orchestrator.core.names import NameVersion
from orchestrator.core.reasons import Reason
from orchestrator.core.record import Phase, Record
from orchestrator.shell.inbox import Inbox
from orchestrator.shell.leases import Leases, Proof
from tests.simulator.model_dispatch import Dispatch
from tests.simulator.model_election import Election
from tests.simulator.model_etcd import Saved
from tests.simulator.model_process import Program, ProgramClock
from tests.simulator.model_swap import TOTAL_US, Swap
from tests.simulator.model_windows import Windows

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet
    from tests.simulator.model_link import Link, Sent, Stream

_CALM_EVERY_US = 250_000
_BUSY_EVERY_US = 50_000
_SAVES_IN_A_ROW_MAX = 16
_CALM = frozenset({Reason.PRIMARY_HEALTHY, Reason.PRIMARY_LATE, Reason.SETTLED, Reason.NO_RECORD})
Result = TypeVar("Result")


class Control(Program):
    def __init__(self, fleet: Fleet, name: str) -> None:
        super().__init__(fleet.world)
        self.fleet, self.etcd, self.names = fleet, fleet.etcd, fleet.names
        self.name = self.place = name
        self._cluster = ClusterName(fleet.spec.name)
        self.clock = ProgramClock(self)
        self.highest_seen = NO_VERSION
        """On its disk (R14)."""
        self.stories: list[Story] = []
        self.decided: set[Reason] = set()  # every one that it ever gave
        self.fail_after_save = 0
        """Killed when so many saves were done: between saving and dispatching."""
        self.fail_in_dispatch = 0
        """Killed when so many orders were handed out: the rest of them is never delivered."""
        self.start()

    # ---- the process ----

    def start(self) -> None:
        """A new process: warm is nothing, what lies on its disk is left."""
        if self.alive:
            return
        self.begin_process()
        self.engine = Engine(self._cluster)
        self.election = Election(self, self._told)
        self.dispatch = Dispatch(self)
        self.term = self.lease = 0
        self.elected: int | None = None
        self._is_over = False
        self.leases = Leases(self.clock, self._proof)
        self.streams: dict[str, Stream] = {}
        self.heard_at: dict[str, Instant] = {}
        self._windows, self._relayed = Windows(), Windows()
        self.listening_since = self.now
        self.seen_names: tuple[NameVersion | None, ...] = ()
        """The version that DNS was last seen at; empty while nothing is remembered."""
        self.record: Record | None = None
        self.revision = 0
        self.must_load, self.is_unsettled, self.is_saving = True, False, False
        self._told_of_term = self._failures = 0
        self._told_of_nodes: tuple[str, ...] = ()
        self._pause_until = self._alarm_at = Instant(0)
        self._reasons: frozenset[Reason] = frozenset()
        self._inbox = Inbox(self.clock)
        self._turning = self._awake = False
        self.turns = 0
        self.decided_us = 0
        """When it decided last; what is saved later was right then."""
        self._others_known: tuple[str, ...] = ()
        self.feed(ev.SpecLoaded(self.now, self.fleet.spec))
        self.election.begin()
        self._tick()

    def die(self) -> None:
        if not self.alive:
            return
        self.end_process()
        for name in sorted(self.streams):
            self.streams[name].end()
        self.streams.clear()
        self.fail_after_save = self.fail_in_dispatch = 0

    def ask_etcd(self, apply: Callable[[], Result], answered: Callable[[Result], None]) -> None:
        boot = self.boot
        self.etcd.ask(self.name, apply, lambda result: self.receive(lambda: answered(result), boot))

    @property
    def reaches_etcd(self) -> bool:
        return self.fleet.network.both_ways(self.place, "etcd") and not self.etcd.is_down

    @property
    def other_nodes(self) -> tuple[str, ...]:
        """As etcd lists them; the list that is known stays while it is away."""
        if self.reaches_etcd:
            self._others_known = self.fleet.present_nodes(self.name)
        return self._others_known

    # ---- what is heard ----

    def hear_relayed(self, beat: ev.Beat, by: MemberName) -> None:
        """A peer passed it on: evidence, and neither heard nor answered (orchestrator/ingress/heartbeat_udp.py)."""
        if self._windows.boot_of(beat) in (0, beat.boot_id) and self._relayed.accept(beat):
            self.highest_seen = max(self.highest_seen, beat.obeyed)
            self.world.count("beats passed on by a peer")
            self.feed(ev.BeatRelayed(self.now, beat, by))

    def hear_beat(self, link: Link, beat: ev.Beat, sent: Sent) -> None:
        if not self._windows.accept(beat):
            return
        self.highest_seen = max(self.highest_seen, beat.obeyed)  # as orchestrator/app.py does, leading or not
        now = self.heard_at[beat.member] = self.now
        self.fleet.truth.heard(self.name, beat.member)
        self.feed(ev.BeatHeard(now, beat))
        epoch = lease_ms = 0
        if self.elected is not None:
            grant = self.leases.for_beat(self._cluster, beat.member, beat.obeyed.epoch)
            if grant is not None:
                epoch, lease_ms = grant.epoch, grant.lease_ms
                self.fleet.control_checkers.granted(self, epoch)
                if self.term != self.etcd.term:
                    self.world.count("leases granted by a stale leader")
        if epoch or link.leader_term != self.etcd.term or link.leader != self.etcd.holder:
            leader, term = self.leader()
            self.fleet.network.datagram(
                self.place, link.name, lambda: link.acknowledged(leader, term, epoch, sent, lease_ms)
            )

    def _proof(self) -> Proof | None:
        sent_at = self.election.proof
        return None if sent_at is None else Proof(self.election.term, sent_at)

    def leader(self) -> tuple[str, int]:
        """Who leads, as far as this node knows: itself, or whom etcd names."""
        if self.election.term:
            return self.name, self.election.term
        if self.reaches_etcd and self.etcd.term:
            return self.etcd.holder, self.etcd.term
        return "", 0

    def welcome(self) -> tuple[bool, str, int]:
        return (self.term > 0 and self._leads, *self.leader())

    def opened(self, stream: Stream) -> None:
        older = self.streams.get(stream.link.name)
        if older is not None:
            older.end()
        self.streams[stream.link.name] = stream
        self.dispatch.look_at(stream)

    def hear_facts(self, stream: Stream, facts: Facts) -> None:
        self.heard_at[facts.member] = self.now
        if stream.incarnation != facts.incarnation:
            stream.incarnation = facts.incarnation
            self.dispatch.look_at(stream)
        self.fleet.truth.reported(self.name, facts)
        self.feed(ev.FactsHeard(self.now, facts))

    def feed(self, event: ev.Event) -> None:
        """Into the inbox; what says nothing new waits there for the tick."""
        if self.alive:
            self._inbox.put(self._cluster, event)
            # One that does not lead only listens: when it folds what it heard makes no difference.
            if self._inbox.is_awake and self._may_lead:
                self._wake()

    # ---- turns ----

    @property
    def _may_lead(self) -> bool:
        return self.elected is not None or self.term > 0

    def _tick(self) -> None:
        if self._may_lead:
            self._wake()
        else:
            self._listen()
        record = self.record
        busy = self.term > 0 and record is not None and (
            record.phase is not Phase.STABLE or bool(record.prior) or len(record.rules) > 1
        )  # fmt: skip
        self.timer(_BUSY_EVERY_US if busy else _CALM_EVERY_US, self._tick)

    def _wake(self) -> None:
        if self._turning:
            self._awake = True
        else:
            self._turning = True
            self.after(self.world.between(50, 500), self._run_turn)

    def _run_turn(self) -> None:
        self._awake = False
        self._listen()
        if self.term and not self._leads:
            self._end_term()
        if self.elected is not None and not self.term:
            self.term, self.lease, self._is_over = self.elected, self.election.lease, False
            self.must_load, self._told_of_term = True, 0
            self._pause_until, self._failures = Instant(0), 0
        if self.term:
            self._turn(0)
        else:
            self._end_turn()

    def _listen(self) -> None:
        for _, event in self._inbox.drain()[0]:
            self.engine.feed(event)

    def _end_turn(self) -> None:
        self._turning = False
        if self._awake:
            self._wake()

    def _turn(self, saves: int) -> None:
        if saves >= _SAVES_IN_A_ROW_MAX:
            self._awake = True
            self._end_turn()
            return
        if self.now < self._pause_until or not self._leads:
            self._end_turn()
            return
        calm = self.record is None or (self.record.phase is Phase.STABLE and self._reasons <= _CALM)
        if self._told_of_term and calm and self._told_of_nodes != self.other_nodes:
            self._told_of_term, self.must_load = 0, True
        if self.must_load:
            self._load(lambda: self._decide(saves))
        else:
            self._decide(saves)

    def _decide(self, saves: int) -> None:
        self.turns += 1
        self.decided_us = self.world.now_us
        decision = self.engine.turn(self.now)
        self.decided.update(because.reason for because in decision.reasons)
        self._reasons = frozenset(because.reason for because in decision.reasons)
        self._set_alarm(decision.again_at_us)
        # Before anything is sent: one that leaves the epoch grants nothing from this moment on.
        self.leases.stand(self._cluster, decision.grant)
        if decision.record is None:
            self.dispatch.start(decision)
            self._end_turn()
        else:
            self._save(decision, decision.record, saves)

    def _set_alarm(self, again_at_us: int | None) -> None:
        if again_at_us is None:
            return
        at = Instant(max(again_at_us, self.now + 1_000))
        if self.now < self._alarm_at <= at:
            return
        self._alarm_at = at
        self.timer(at - self.now, self._wake)

    # ---- the record ----

    def _save(self, decision: Decision, record: Record, saves: int) -> None:
        self.is_saving = True
        Swap(self, record, self.revision, lambda outcome: self._saved(outcome, decision, record, saves))

    def _saved(self, outcome: int | Saved, decision: Decision, record: Record, saves: int) -> None:
        self.is_saving = False
        if outcome is Saved.LOST_LEADERSHIP:
            self.world.count("late leaders refused by the term")
            self._end_term()
            self._end_turn()
            return
        if isinstance(outcome, Saved):
            self.world.count("unknown outcomes" if outcome is Saved.UNKNOWN else "conflicts")
            self.must_load, self.is_unsettled = True, outcome is Saved.UNKNOWN
            self.leases.stand(self._cluster, None)
            self._failed()
            self._end_turn()
            return
        self._know(record, outcome)
        if self.fail_after_save:
            self.fail_after_save -= 1
            if not self.fail_after_save:
                self.world.count("leaders killed after a save")
                self.die()
                return
        if not self._leads:
            self._end_turn()
            return
        self.engine.feed(ev.RecordSaved(self.now, record, outcome))
        self.dispatch.start(decision)
        if self.alive:
            self._turn(saves + 1)

    def _load(self, then: Callable[[], None]) -> None:
        state = {"open": True}

        def answered(found: tuple[Record | None, int]) -> None:
            if not state["open"]:
                return
            state["open"] = False
            record, revision = found
            if self.is_unsettled and record is not None and revision <= self.revision and self._leads:
                # Saved as it is: then what was not answered can't land any more.
                Swap(self, record, revision, lambda outcome: settled(record, outcome), settles=True)
            else:
                known(*found)

        def settled(record: Record, outcome: int | Saved) -> None:
            if outcome is Saved.LOST_LEADERSHIP:
                self._end_term()
                self._end_turn()
            elif isinstance(outcome, Saved):
                self._failed()
                self._end_turn()
            else:
                self.world.count("saves settled by another")
                known(record, outcome)

        def known(record: Record | None, revision: int) -> None:
            if not self._leads:
                self._end_turn()
                return
            self._tell_of_term()
            self.must_load = self.is_unsettled = False
            self._know(record, revision)
            self.engine.feed(ev.RecordLoaded(self.now, record, revision))
            then()

        def too_late() -> None:
            if state["open"]:
                state["open"] = False
                self._failed()
                self._end_turn()

        self.ask_etcd(lambda: (self.etcd.record, self.etcd.record_revision), answered)
        self.timer(TOTAL_US, too_late)

    def _know(self, record: Record | None, revision: int) -> None:
        self._pause_until, self._failures = Instant(0), 0
        self.record, self.revision = record, revision
        if record is not None:
            self.highest_seen = max(self.highest_seen, Version(record.epoch, revision))

    def _failed(self) -> None:
        pause_us = min(1_000_000, 100_000 << min(self._failures, 10))
        self._failures += 1
        self._pause_until = Instant(self.now + pause_us)
        self.timer(pause_us, self._wake)

    # ---- leading ----

    @property
    def _leads(self) -> bool:
        return self.term > 0 and self.term == self.elected and not self._is_over

    def _told(self, term: int | None) -> None:
        """The election's newest word. An end takes effect at once, a beginning with the next turn."""
        self.elected = term
        # A term that is over never comes back, not even under the same number (after a restore, R14).
        self._is_over = self._is_over or term is None
        if self.term and not self._leads:
            self.leases.withdraw_all()
            self.dispatch.end_term()
        self._wake()

    def _end_term(self) -> None:
        if self.elected == self.term and not self._is_over:
            self.elected = None
        self.term = 0
        self.leases.withdraw_all()
        self.dispatch.end_term()
        self.must_load, self.is_unsettled, self._told_of_term = True, False, 0
        self.engine.feed(ev.LeadershipLost(self.now))

    def _tell_of_term(self) -> None:
        if self._told_of_term != self.term:
            self._told_of_term, self._told_of_nodes = self.term, self.other_nodes
            self.engine.feed(
                ev.LeadershipGained(
                    self.now, self.term, self.etcd.cluster_id, self._told_of_nodes, self.highest_seen
                )
            )
