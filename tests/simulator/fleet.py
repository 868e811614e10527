"""A simulated fleet: one cluster, its control nodes, etcd, DNS, its clients; faults with one call each."""

from __future__ import annotations

from collections.abc import Callable

from agents.core.obey import Obeyed, RefusedOrder, consider
from common.assignment import Assignment, Version
from common.facts import PostgresState
from common.ids import ClusterName, MemberName
from common.profile import DEFAULT, Profile
from orchestrator.core import events as ev
from orchestrator.core.events import ProbeAnswer
from orchestrator.core.record import Record
from orchestrator.core.spec import STRICT, TO_SOLO, ClusterSpec, MemberSpec
from orchestrator.core.stories import is_whole
from tests.simulator.check_attach import AttachTruth
from tests.simulator.check_control import ControlCheckers
from tests.simulator.check_names import NamesLooked
from tests.simulator.check_outage import Failovers
from tests.simulator.check_refusal import Refusals
from tests.simulator.checkers import Checkers
from tests.simulator.checkers_host import HostCheckers
from tests.simulator.checkers_seals import SealCheckers
from tests.simulator.model_agent import Agent
from tests.simulator.model_control import Control
from tests.simulator.model_etcd import Etcd
from tests.simulator.model_link import Link
from tests.simulator.model_names import NameServers
from tests.simulator.model_network import DNS, ETCD, Network
from tests.simulator.model_postgres import Postgres
from tests.simulator.model_process import Process
from tests.simulator.record_truth import RecordTruth
from tests.simulator.world import World

_LISTED_FOR_US = 10_000_000
"""A control node that died is listed for so long."""


class Fleet:
    def __init__(
        self,
        seed: int,
        *,
        members: int = 3,
        k: int = 1,
        profile: Profile = DEFAULT,
        controls: int = 1,
        sites: int = 1,
        strict: bool = False,
    ) -> None:
        self.world = World(seed)
        self.profile = profile
        names = "abcdefg"[:members]
        places = tuple(f"n{i + 1}" for i in range(controls))
        self.sites = _sites(names, places, sites)
        self.spec = ClusterSpec(
            ClusterName("c1"),
            "db.example.",
            tuple(
                MemberSpec(MemberName(n), f"host-{n}", (f"10.0.0.{i + 1}",), site=self.sites[n])
                for i, n in enumerate(names)
            ),
            k=k,
            profile=profile.name,
            when_last_voter_lost=STRICT if strict else TO_SOLO,
        )
        self.network = Network(self.world, self.sites, places)
        self.down = self.network.off
        """Hosts that are off."""
        self.cut = self.network.cut
        """Pairs that can't reach each other; "control" is every control node."""
        self.lasts_until_us = 0
        """Until then a fault needs time to come about: nothing is healed before."""
        self.in_store_until_us = 0
        """By then everything has happened that the faults so far had in store; healing does not take it back."""
        self.on_saved: Callable[[Record | None, Record], None] = lambda old, new: None
        self._awaited: list[tuple[Callable[[Record], bool], Callable[[], None]]] = []
        self.sent: list[Assignment] = []
        self.checkers = Checkers(self)
        self.truth = RecordTruth(self)
        self.etcd = Etcd(self.world, self.network, self._saved)
        self.control_checkers = ControlCheckers(self)
        self.refusals = Refusals(self)
        self.names_looked = NamesLooked(self)
        self.failovers = Failovers(self)
        self.names = NameServers(self.world, self.network, self.control_checkers.named)
        self.postgres = {n: self._server(n) for n in names}
        self.links: dict[str, Link] = {}
        self.agents = {n: Agent(self.world, "c1", n, self.postgres[n], profile, self._report) for n in names}
        for name, agent in self.agents.items():
            agent.may_boot = lambda n=name: n not in self.down  # type: ignore[misc]
            agent.on_power_cut = lambda n=name: self.bounce_host(n)  # type: ignore[misc]
            agent.send_beat = self._beat
            self.links[name] = Link(self, agent)
        self.host_checkers = HostCheckers(self)
        self.checkers.seals = SealCheckers(self)
        self.attach_truth = AttachTruth(self)
        self.checkers.on_promoted = self.host_checkers.promoted
        self.nodes = [Control(self, place) for place in places]
        for node in self.nodes:
            self.etcd.watchers.append(lambda n=node: self._notice(n))  # type: ignore[misc]
        self._leader = self.nodes[0]
        self._crown(self.nodes[0])
        self.next_row = 0
        self._sessions: dict[str, int] = {}
        """Where clients are connected, and to which run of it."""
        self.world.after_each = self._check

    def _check(self) -> None:
        self.checkers.after_each()
        self.host_checkers.after_each()

    def _server(self, name: str) -> Postgres:
        server = Postgres(self.world, name, lambda other: self._reach(name, other))
        server.passes, server.wire = self.network.passes, self.network.call
        self.checkers.attach(server)
        return server

    def _reach(self, a: str, b: str) -> Postgres | None:
        return self.postgres[b] if self.network.both_ways(a, b) else None

    def _saved(self, old: Record | None, new: Record) -> None:
        self.checkers.saved(old, new)
        if self.etcd.went_back:
            self.truth.saved_after_a_restore(new)
        else:
            self.truth.saved(old, new)
        self.control_checkers.saved(old, new)
        self.failovers.saved(old, new)
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
        self.network.heal()
        self._awaited.clear()
        for name, server in self.postgres.items():
            server.stalled_until = server.checkpointer_stalls_until = server.slow_reload_us = 0
            server.resume_replay("paused", "conflict", "slow")
            agent = self.agents[name]
            server.full = server.promotion_fails = False
            agent.fuse = agent.stalled_until = 0
            self.restart_host(name)
            agent.host.heal()
            if not agent.alive:
                agent.boot_up()
        self.etcd.heal()
        self.names.down_until_us = self.names.slow_until_us = 0
        for node in self.nodes:
            node.fail_after_save = node.fail_in_dispatch = 0
            node.resume()
            while node.frozen:
                node.thaw()
            node.start()

    def apply(self, spec: ClusterSpec) -> None:
        """A person loads another file."""
        self.spec = spec
        for node in self.nodes:
            if node.alive:
                node.feed(ev.SpecLoaded(node.now, spec))

    # Control nodes

    @property
    def refused_count(self) -> int:
        """What was asked for and refused, by all of them so far."""
        return sum(story.final == "refused" for node in self.nodes for story in node.stories)

    @property
    def hidden_us(self) -> int:
        """How much time control nodes know nothing of."""
        return sum(node.hidden_us for node in self.nodes)

    @property
    def control(self) -> Control:
        """The present leader's control node: the one that etcd names, or the last one."""
        if self.etcd.holder:
            self._leader = self.node(self.etcd.holder)
        return self._leader

    def node(self, name: str) -> Control:
        return self.nodes[int(name[1:]) - 1]

    def present_nodes(self, but: str) -> tuple[str, ...]:
        """As etcd lists them: one that died stands there for a while."""
        now_us = self.world.now_us
        return tuple(
            n.name for n in self.nodes if n.name != but and (n.alive or now_us - n.died_us < _LISTED_FOR_US)
        )

    def _notice(self, node: Control) -> None:
        term, as_of = self.etcd.term, self.etcd.revision
        self.network.call(ETCD, node.place, lambda: node.receive(lambda: node.election.noticed(term, as_of)))

    def _crown(self, node: Control) -> None:
        """It wins the election at once."""
        node.election.win(self.etcd.elect(node.name), node.now)

    def replace_leader(self, *, kill: bool = True) -> None:
        """Another one leads at once. Without killing, the old one goes on with what it knew until it finds
        out that it does not lead."""
        self.world.count("changes of leader")
        old = self.control
        if kill or len(self.nodes) == 1:
            old.die()
        heirs = [node for node in self.nodes if node is not old and node.alive and not node.frozen]
        if heirs:
            heir = self.world.dice.pick(heirs)
        else:
            heir = old
            heir.die()
            heir.start()
        self._crown(heir)

    def obeyed(self) -> dict[str, Version]:
        """Of each member. (What only its own leader has seen never had an effect: R14 may pass it by.)"""
        return {a.name: a.durable.obeyed for a in self.agents.values() if a.durable is not None}

    # Messages

    def _beat(self, agent: Agent) -> None:
        self.links[agent.name].beat(agent)

    def _report(self, agent: Agent) -> None:
        link = self.links.get(agent.name)
        if link is not None:
            link.report(agent)

    def sending(self, assignment: Assignment) -> None:
        self.sent.append(assignment)
        if len(self.sent) > 400:
            del self.sent[:200]

    def hand_over(self, assignment: Assignment) -> None:
        if assignment.member not in self.down:
            self.agents[assignment.member].receive(assignment)

    def late_order(self, member: str | None = None) -> None:
        """Any order ever sent (to that member), delivered again: half of the time one that would be news."""
        # None of a history that a backup took back: those on their way are gone by then (seed 935508092).
        record = self.record()
        epoch = 0 if record is None else record.epoch
        for_it = [a for a in self.sent if member in (None, a.member) and a.version.epoch <= epoch]
        news = [a for a in for_it if a.version > self.agents[a.member].state.obeyed]
        chosen = news if news and self.world.chance(500) else for_it
        if not chosen:
            return
        assignment = self.world.dice.pick(chosen)
        agent = self.agents[assignment.member]
        if not agent.alive or assignment.member in self.down:
            return
        match consider(agent.state, assignment):
            case Obeyed():
                self.world.count("late orders obeyed")
            case RefusedOrder():
                self.world.count("late orders refused")
        agent.receive(assignment)

    def probe(self, member: str) -> ProbeAnswer:
        """What a member's PostgreSQL says to a connection that reached its host."""
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
        agent = self.agents[member]
        if member not in self.down and not agent.host.stands_still:
            agent.die()
            agent.host.agent_process = Process(self.world)  # one that was frozen is killed all the same
            agent.boot_up()

    def lose_state(self, member: str) -> None:
        agent = self.agents[member]
        if member not in self.down and not agent.host.stands_still:
            agent.forget()
            self.checkers.forgot(member)
            agent.host.agent_process = Process(self.world)
            agent.boot_up()

    def lose_directory(self, member: str) -> None:
        """Its disk is new and empty; the agent finds that when it starts again."""
        self.postgres[member].crash(power=True)
        self.postgres[member].wipe()

    def switchover(self, to: str | None) -> None:
        operation = f"op{self.world.unique()}"
        control = self.control
        control.feed(
            ev.SwitchoverAsked(control.now, operation, "operator:sim", None if to is None else MemberName(to))
        )

    # Clients

    def write(self) -> None:
        """A client inserts at every member that lets it in."""
        for server in self.writable():
            self.next_row += 1
            self.checkers.client_commit(server, self.next_row)

    def writable(self) -> list[Postgres]:
        """Those that let clients in, or have let them in: sessions last until PostgreSQL stops."""
        found = []
        for name, server in self.postgres.items():
            if name in self.down:
                continue
            if server.lets_clients_in:
                self._sessions[name] = server.run
                found.append(server)
            elif server.state is PostgresState.PRIMARY and self._sessions.get(name) == server.run:
                found.append(server)
        return found

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
        record, control = self.etcd.record, self.control
        view = control.engine.view
        if record is None or view.leading is None or view.record is not record:
            return False
        return is_whole(record, view, self.spec, control.now)


def _sites(members: str, controls: tuple[str, ...], count: int) -> dict[str, str]:
    """Everything is spread over the sites in turn; etcd's majority and the name server are in the first."""
    if count == 1:
        return dict.fromkeys((*members, *controls, ETCD, DNS), "")
    sites = {place: f"s{i % count + 1}" for i, place in enumerate(members)}
    sites.update({place: f"s{i % count + 1}" for i, place in enumerate(controls)})
    return sites | {ETCD: "s1", DNS: f"s{count}"}
