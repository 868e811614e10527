"""A simulated fleet: one cluster, its control node, its clients; faults with one call each."""

from __future__ import annotations

from collections.abc import Callable

from agents.core.obey import Obeyed, RefusedOrder, consider
from common.assignment import Assignment
from common.facts import Facts, PostgresState
from common.ids import ClusterName, MemberName
from common.profile import DEFAULT, Profile
from orchestrator.core import events as ev
from orchestrator.core.events import ProbeAnswer
from orchestrator.core.record import Record
from orchestrator.core.spec import ClusterSpec, MemberSpec
from orchestrator.core.stories import is_whole
from tests.simulator.checkers import Checkers
from tests.simulator.checkers_host import HostCheckers
from tests.simulator.checkers_seals import SealCheckers
from tests.simulator.model_agent import Agent
from tests.simulator.model_control import Control, ModelEtcd
from tests.simulator.model_leases import Leases
from tests.simulator.model_postgres import Postgres
from tests.simulator.world import World


class Fleet:
    def __init__(self, seed: int, *, members: int = 3, k: int = 1, profile: Profile = DEFAULT) -> None:
        self.world = World(seed)
        self.profile = profile
        names = "abcdefg"[:members]
        self.spec = ClusterSpec(
            ClusterName("c1"),
            "db.example.",
            tuple(MemberSpec(MemberName(n), f"host-{n}", (f"10.0.0.{i + 1}",)) for i, n in enumerate(names)),
            k=k,
        )
        self.etcd = ModelEtcd()
        self.down: set[str] = set()
        """Hosts that are off."""
        self.cut: set[frozenset[str]] = set()
        """Pairs that can't reach each other; "control" is the control node."""
        self.lasts_until_us = 0
        """Until then a fault needs time to come about: nothing is healed before."""
        self._said: dict[str, object] = {}
        self.on_saved: Callable[[Record | None, Record], None] = lambda old, new: None
        self._awaited: list[tuple[Callable[[Record], bool], Callable[[], None]]] = []
        self.sent: list[Assignment] = []
        self.leases = Leases(self.world, self.etcd)
        self.checkers = Checkers(self)
        self.postgres = {n: self._server(n) for n in names}
        self.agents = {n: Agent(self.world, "c1", n, self.postgres[n], profile, self._heard) for n in names}
        for name, agent in self.agents.items():
            agent.may_boot = lambda n=name: n not in self.down  # type: ignore[misc]
            agent.on_power_cut = lambda n=name: self.bounce_host(n)  # type: ignore[misc]
        self.control = self._new_control()
        self.next_row = 0
        self.host_checkers = HostCheckers(self)
        self.checkers.seals = SealCheckers(self)
        self.checkers.on_promoted = self.host_checkers.promoted
        self.world.after_each = self._check

    def _check(self) -> None:
        self.checkers.after_each()
        self.host_checkers.after_each()

    def _server(self, name: str) -> Postgres:
        server = Postgres(self.world, name, lambda other: self._reach(name, other))
        self.checkers.attach(server)
        return server

    def _reach(self, a: str, b: str) -> Postgres | None:
        if a in self.down or b in self.down or frozenset((a, b)) in self.cut:
            return None
        return self.postgres[b]

    def _new_control(self) -> Control:
        control = Control(self.world, self.etcd, self.spec, self._deliver, self._probe, self._saved)
        control.lead()
        return control

    def _saved(self, old: Record | None, new: Record) -> None:
        self.checkers.saved(old, new)
        self.on_saved(old, new)
        due = [entry for entry in self._awaited if entry[0](new)]
        for entry in due:
            self._awaited.remove(entry)
            entry[1]()

    def once(self, happens: Callable[[Record], bool], then: Callable[[], None]) -> None:
        """As soon as a record of which that is true was saved."""
        self._awaited.append((happens, then))

    def heal(self) -> None:
        """No more faults: everything that is away comes back."""
        self.cut.clear()
        self._awaited.clear()
        for name, server in self.postgres.items():
            server.stalled_until = 0
            agent = self.agents[name]
            agent.fuse = agent.stalled_until = 0
            server.full = False
            self.restart_host(name)
            agent.host.heal()
            if not agent.alive:
                agent.boot_up()
        if not self.control.alive or not self.control.term:
            self.replace_leader()
        self.control.fail_after_save = self.control.fail_in_dispatch = 0

    # Messages

    def _heard(self, agent: Agent) -> None:
        control_cut = frozenset((agent.name, "control"))
        if agent.name in self.down:
            return
        facts, sent_at = agent.facts(), agent.now
        self.checkers.reported(agent, facts)

        def arrive() -> None:
            cut = control_cut in self.cut
            self.leases.beat(agent, facts, sent_at, self.control, cut=cut)
            if not cut:
                said = _said(facts)
                urgent = self._said.get(agent.name) != said
                self._said[agent.name] = said
                self.control.feed(ev.FactsHeard(self.world.now, facts), urgent=urgent)

        self.world.after(self.world.between(200, 3_000), arrive)

    def _deliver(self, assignment: Assignment) -> None:
        self.sent.append(assignment)
        if len(self.sent) > 400:
            del self.sent[:200]
        if frozenset((assignment.member, "control")) in self.cut:
            return
        self.world.after(self.world.between(200, 3_000), lambda: self._hand_over(assignment))

    def _hand_over(self, assignment: Assignment) -> None:
        if assignment.member not in self.down:
            self.agents[assignment.member].receive(assignment)

    def late_order(self, member: str | None = None) -> None:
        """Any order ever sent (to that member), delivered again: half of the time one that would be news."""
        for_it = [a for a in self.sent if member in (None, a.member)]
        news = [a for a in for_it if a.version > self.agents[a.member].state.obeyed]
        chosen = news if news and self.world.chance(500) else for_it
        if not chosen:
            return
        assignment = self.world.dice.choice(chosen)
        agent = self.agents[assignment.member]
        if not agent.alive or assignment.member in self.down:
            return
        match consider(agent.state, assignment):
            case Obeyed():
                self.world.count("late orders obeyed")
            case RefusedOrder():
                self.world.count("late orders refused")
        agent.receive(assignment)

    def _probe(self, member: str) -> ProbeAnswer:
        if member in self.down or frozenset((member, "control")) in self.cut:
            return ProbeAnswer.SILENT
        if self.agents[member].host.postgres_process.frozen:
            return ProbeAnswer.SILENT
        state = self.postgres[member].state
        if state is PostgresState.PRIMARY:
            return ProbeAnswer.PRIMARY
        return ProbeAnswer.STANDBY if state is PostgresState.STANDBY else ProbeAnswer.REFUSED

    # Faults

    def kill_postmaster(self, member: str) -> None:
        if self.postgres[member].anything_left:
            self.postgres[member].kill_postmaster()
            self.agents[member].postmaster_died()

    def lose_host(self, member: str) -> None:
        self.down.add(member)
        self.postgres[member].crash(power=True)
        self.agents[member].host.power_off()

    def bounce_host(self, member: str) -> None:
        """Power off and on again at once."""
        self.lose_host(member)
        self.world.after(self.world.between(1_000, 400_000), lambda: self.restart_host(member))

    def restart_host(self, member: str) -> None:
        if member in self.down:
            self.down.discard(member)
            self.agents[member].host.power_on()

    def restart_agent(self, member: str) -> None:
        if member not in self.down:
            self.agents[member].die()
            self.agents[member].boot_up()

    def lose_state(self, member: str) -> None:
        if member not in self.down:
            self.agents[member].forget()
            self.checkers.forgot(member)
            self.agents[member].boot_up()

    def lose_directory(self, member: str) -> None:
        """Its disk is new and empty; the agent finds that when it starts again."""
        self.postgres[member].crash(power=True)
        self.postgres[member].wipe()

    def replace_leader(self, *, kill: bool = True) -> None:
        """Without killing, the old one goes on with what it knew until it finds out that it does not lead."""
        self.world.count("changes of leader")
        if kill:
            self.control.die()
        self.control = self._new_control()

    def switchover(self, to: str | None) -> None:
        operation = f"op{self.world.unique()}"
        self.control.feed(
            ev.SwitchoverAsked(
                self.world.now, operation, "operator:sim", None if to is None else MemberName(to)
            )
        )

    # Clients

    def write(self) -> None:
        """A client inserts at every member that lets it in."""
        for name in sorted(self.postgres):
            server = self.postgres[name]
            if server.lets_clients_in and name not in self.down:
                self.next_row += 1
                self.checkers.client_commit(server, self.next_row)

    # Looking

    def record(self) -> Record | None:
        return self.etcd.record

    def serving(self) -> bool:
        record = self.etcd.record
        if record is None or record.phase != "STABLE" or record.primary is None:
            return False
        agent = self.agents[record.primary]
        return agent.open and agent.alive and self.postgres[record.primary].state is PostgresState.PRIMARY

    def whole(self) -> bool:
        record, view = self.etcd.record, self.control.engine.view
        if record is None or view.record != record:
            return False
        return is_whole(record, view, self.spec, self.world.now)


def _said(facts: Facts) -> object:
    """What wakes the leader at once; the rest waits for a tick."""
    return (
        facts.obeyed,
        facts.incarnation,
        facts.system_identifier,
        facts.postgres,
        facts.open,
        facts.timeline,
        facts.end_of_wal,
        facts.rule_confirmation,
        facts.promotion,
        facts.promotion_failed,
        facts.seal,
        facts.rebuild_needed,
        [p.application_name for p in facts.peers if p.state == "streaming"],
    )
