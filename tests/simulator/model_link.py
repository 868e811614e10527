"""An agent's link to the control nodes, as agents/link plays it: beats to all, one stream to the leader.

Beats are datagrams and carry the fast fields alone; the whole facts go over the stream, on change and every
second. Who leads is learned from acknowledgements, from a follower's answer, or by trying one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.assignment import Assignment
from common.facts import Facts, PostgresState
from common.ids import IncarnationId
from common.timebase import Instant
from orchestrator.core.events import Beat

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet
    from tests.simulator.model_agent import Agent
    from tests.simulator.model_control import Control

UNANSWERED_BEATS = 3
_FACTS_EVERY_US = 1_000_000
_WELCOME_WITHIN_US = 2_000_000
_BROKEN_AFTER_US = 6_000_000
"""So long is a stream believed in over which nothing goes (gRPC's keepalive, half open)."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What an agent remembers of a beat: which process sent it, and when, read before it was sent."""

    boot: int
    at: Instant


class Stream:
    """One session with a control node; each side may believe in it for longer than the other."""

    def __init__(self, link: Link, node: Control) -> None:
        self.link, self.node = link, node
        self.incarnation: IncarnationId = link.agent.state.incarnation
        self.agent_ended = False
        self.node_ended = False
        self.newest: Assignment | None = None
        self._last_heard_us = link.world.now_us

    # ---- the agent's end ----

    def facts(self, facts: Facts) -> None:
        world, network = self.link.world, self.link.fleet.network
        if network.both_ways(self.link.name, self.node.place):
            self._last_heard_us = world.now_us
        elif world.now_us - self._last_heard_us > _BROKEN_AFTER_US:
            self.link.broken(self)
            return

        def arrive() -> None:
            if not self.node_ended:
                self.node.hear_facts(self, facts)

        def land() -> None:
            if self.node_ended:  # the word of that was lost: the kernel there answers with a reset
                network.call(self.node.place, self.link.name, lambda: self.link.broken(self))
            else:
                self.node.receive(arrive)

        network.stream(self.link.name, self.node.place, land)

    # ---- the control node's end ----

    def send(self, assignment: Assignment) -> None:
        self.newest = assignment

        def arrive() -> None:
            if not self.agent_ended:
                self.link.fleet.hand_over(assignment)

        self.link.fleet.network.stream(self.node.place, self.link.name, arrive)

    def end(self) -> None:
        """The control node does not lead any more, or its process died: the agent is told by its kernel."""
        if self.node_ended:
            return
        self.node_ended = True
        self.link.fleet.network.call(self.node.place, self.link.name, lambda: self.link.broken(self))


class Link:
    def __init__(self, fleet: Fleet, agent: Agent) -> None:
        self.fleet, self.agent, self.world = fleet, agent, fleet.world
        self.name = agent.name
        self.stream: Stream | None = None
        self.leader = ""
        self.leader_term = 0
        self._boot = -1
        self._answered_at = Instant(0)
        self._knows_peers = False
        """The leader told this process."""
        self._sequence = 0
        self._reported_us = 0
        self._said: object = None
        self._opening = 0
        self._tried = 0
        self._failures = 0

    # ---- what the agent calls ----

    def beat(self, _: Agent) -> None:
        """The period's beat; the facts too, where they are due or say something new."""
        if self.name in self.fleet.down:
            return
        self._look_at_boot()
        facts = self._facts()
        self._send_beat(facts)
        due = self.world.now_us - self._reported_us >= _FACTS_EVERY_US
        if due or _said(facts) != self._said:
            self._report(facts)

    def report(self, _: Agent) -> None:
        """Something may have happened: what is new is said at once, both ways."""
        if self.name in self.fleet.down:
            return
        self._look_at_boot()
        facts = self._facts()
        if _said(facts) != self._said:
            self._send_beat(facts)
            self._report(facts)

    def _facts(self) -> Facts:
        facts = self.agent.facts()
        self.fleet.checkers.reported(self.agent, facts)
        self.fleet.truth.said(self.name, facts)
        return facts

    def _look_at_boot(self) -> None:
        """A new process: nothing of the old one's connections is left."""
        if self.agent.boot != self._boot:
            self._boot = self.agent.boot
            self._answered_at, self._knows_peers = self.agent.now, False
            self.close()

    def close(self) -> None:
        if self.stream is not None:
            stream, self.stream = self.stream, None
            stream.agent_ended = True
        self.leader, self.leader_term, self._said = "", 0, None
        self._opening += 1
        self._failures = 0
        self._open_soon()

    def _arrives(self, happen: Callable[[], None]) -> None:
        """For the process that listens there now; one that stands still finds it when it goes on."""
        agent = self.agent
        if agent.alive:
            boot = agent.boot
            agent.process.due(lambda: happen() if agent.alive and agent.boot == boot else None)

    # ---- beats ----

    def _send_beat(self, facts: Facts) -> None:
        self._sequence += 1
        beat = _beat(facts, self._boot, self._sequence)
        sent = Sent(self._boot, self.agent.host.reasons.begins(self.agent.now))
        if self._is_unanswered(facts):
            self._ask_peers(beat)
        for node in self.fleet.nodes:
            self.fleet.network.datagram(
                self.name,
                node.place,
                lambda n=node: n.receive(lambda: n.hear_beat(self, beat, sent)),  # type: ignore[misc]
            )

    def _is_unanswered(self, facts: Facts) -> bool:
        """agents/link/beat.py: a primary that no control node has answered for some beats. Most answers say nothing new,
        and are not played: whoever could answer did."""
        if facts.postgres is not PostgresState.PRIMARY or not self._knows_peers:
            return False
        network = self.fleet.network
        if any(n.alive and not n.frozen and network.both_ways(self.name, n.place) for n in self.fleet.nodes):
            self._answered_at = self.agent.now
        every_us = self.agent.profile.beat_primary_every_ms * 1_000
        return self.agent.now - self._answered_at >= UNANSWERED_BEATS * every_us

    def _ask_peers(self, beat: Beat) -> None:
        """agents/link/relay.py: to the peers, who pass it on to all control nodes."""
        network = self.fleet.network
        for peer in self.fleet.spec.members:
            if peer.name == self.name or peer.name not in self.fleet.links:
                continue
            link = self.fleet.links[peer.name]
            if peer.name not in self.fleet.down:
                network.datagram(self.name, peer.name, lambda to=link: to.passes_on(beat))  # type: ignore[misc]

    def passes_on(self, beat: Beat) -> None:
        """What a peer of ours asked for."""

        def pass_on() -> None:
            for node in self.fleet.nodes:
                self.fleet.network.datagram(
                    self.name,
                    node.place,
                    lambda n=node: n.receive(lambda: n.hear_relayed(beat, self.agent.name)),  # type: ignore[misc]
                )

        self._arrives(pass_on)

    def acknowledged(self, leader: str, term: int, epoch: int, sent: Sent, lease_ms: int) -> None:
        """Back from a control node: who leads, and a lease where `epoch` is given ("Staying up" a)."""
        self._arrives(lambda: self._acknowledged(leader, term, epoch, sent, lease_ms))

    def _acknowledged(self, leader: str, term: int, epoch: int, sent: Sent, lease_ms: int) -> None:
        if epoch and sent.boot == self.agent.boot:
            self.agent.granted(epoch, sent.at, lease_ms)
        if not leader or term < self.leader_term:
            return
        self.leader_term, known = term, self.leader
        self.leader = leader
        at = self.stream.node.name if self.stream is not None else ""
        if at != leader and (leader != known or self.stream is not None):
            self._leave()
            self._open(leader)

    # ---- the stream ----

    def _report(self, facts: Facts) -> None:
        self._reported_us = self.world.now_us
        self._said = _said(facts)
        if self.stream is not None:
            self.stream.facts(facts)

    def _leave(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.agent_ended = True

    def broken(self, stream: Stream) -> None:
        self._arrives(lambda: self._broken(stream))

    def _broken(self, stream: Stream) -> None:
        if stream is self.stream:
            self.stream = None
            stream.agent_ended = True
            self.leader = ""
            self._open_soon()

    def _open_soon(self) -> None:
        longest_us = min(50_000 << min(self._failures, 4), 500_000)
        attempt = self._opening

        def open_it() -> None:
            if self.stream is None and attempt == self._opening and self.agent.alive:
                self._open(self.leader or self._next_in_turn())

        self.agent.after(self.world.between(50_000, max(50_000, longest_us)), open_it)

    def _next_in_turn(self) -> str:
        self._tried += 1
        return self.fleet.nodes[self._tried % len(self.fleet.nodes)].name

    def _open(self, name: str) -> None:
        self._opening += 1
        attempt = self._opening
        node = self.fleet.node(name)

        def welcome(stream: Stream | None, leader: str, term: int) -> None:
            if attempt != self._opening or self.stream is not None or not self.agent.alive:
                if stream is not None:
                    stream.agent_ended = True
                return
            self._opening += 1
            if stream is not None:
                self._failures, self._knows_peers = 0, True
                self.leader, self.leader_term = node.name, max(self.leader_term, term)
                self.stream = stream
                self._report(self._facts())
            else:
                self._failures += 1
                self.leader = leader if leader != node.name else ""
                self._open_soon()

        def asked() -> None:
            leads, leader, term = node.welcome()
            stream = Stream(self, node) if leads else None
            if stream is not None:
                node.opened(stream)
            self.fleet.network.call(
                node.place, self.name, lambda: self._arrives(lambda: welcome(stream, leader, term))
            )

        def refused() -> None:
            """No process listens there: a reset comes back at once."""
            if node.alive:
                node.receive(asked)
            else:
                self.fleet.network.call(
                    node.place, self.name, lambda: self._arrives(lambda: welcome(None, "", 0))
                )

        def too_late() -> None:
            if attempt == self._opening and self.stream is None and self.agent.alive:
                self._opening += 1
                self._failures += 1
                self.leader = ""
                self._open_soon()

        self.fleet.network.call(self.name, node.place, refused)
        self.agent.after(_WELCOME_WITHIN_US, too_late)


def _beat(facts: Facts, boot_id: int, sequence: int) -> Beat:
    return Beat(
        member=facts.member,
        boot_id=boot_id,
        sequence=sequence,
        obeyed=facts.obeyed,
        incarnation=facts.incarnation,
        system_identifier=facts.system_identifier,
        postgres=facts.postgres,
        postmaster_alive=facts.postmaster_alive,
        receiver_alive=facts.receiver_alive,
        open=facts.open,
        sealed=facts.seal is not None,
        timeline=facts.timeline,
        flushed_lsn=facts.flushed_lsn,
        replayed_lsn=facts.replayed_lsn,
        insert_lsn=facts.insert_lsn,
        write_state=facts.write_state,
        write_age_ms=facts.write_age_ms,
        received_age_ms=facts.received_age_ms,
        free_mib=facts.free_mib,
    )


def _said(facts: Facts) -> object:
    """What is reported on change; the rest waits for the second."""
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
        facts.first_write_age_ms is None,
        facts.write_state,
        [p.application_name for p in facts.peers if p.state == "streaming"],
    )
