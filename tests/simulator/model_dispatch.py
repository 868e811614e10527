"""Performing what a decision asks for, as orchestrator/shell/dispatch.py does: outcomes come back as events.

One effect of a kind and key is under way at a time; all of it belongs to a term, and ends with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from common.assignment import Assignment
from common.ids import MemberName
from common.timebase import elapsed_ms
from orchestrator.core import events as ev
from orchestrator.core.decision import Decision
from orchestrator.core.effects import AskObservers, Effect, ProbeSql, PublishNames, StandDown, Story
from orchestrator.core.names import WantedNames
from tests.simulator.model_names import Publishing

if TYPE_CHECKING:
    from tests.simulator.model_control import Control
    from tests.simulator.model_link import Stream

_REPEATED_EVERY_US = 1_000_000


class Dispatch:
    def __init__(self, node: Control) -> None:
        self._node = node
        self.newest: dict[str, Assignment] = {}
        self._running: dict[tuple[str, ...], None] = {}
        self._publishing: Publishing | None = None
        self._term = 0
        """Counts ends of terms: what was begun in an earlier one says nothing any more."""

    def start(self, decision: Decision) -> None:
        node = self._node
        for assignment in decision.assignments:
            if self.newest.get(assignment.member) == assignment:
                continue
            self.newest[assignment.member] = assignment
            stream = node.streams.get(assignment.member)
            if stream is not None:
                self.look_at(stream)
            if node.fail_in_dispatch:
                node.fail_in_dispatch -= 1
                if not node.fail_in_dispatch:
                    node.world.count("leaders killed in a dispatch")
                    node.die()
                    return
        for effect in decision.effects:
            self._perform(effect)

    def end_term(self) -> None:
        self._term += 1
        self._running.clear()
        self.newest.clear()
        if self._publishing is not None:
            self._publishing.cancelled = True
            self._publishing = None
        for name in sorted(self._node.streams):
            self._node.streams[name].end()
        self._node.streams.clear()

    # ---- assignments ----

    def look_at(self, stream: Stream) -> None:
        """Send the newest for its incarnation, and again until its facts agree."""
        wanted = self.newest.get(stream.link.name)
        if wanted is None or wanted.incarnation != stream.incarnation or stream.newest == wanted:
            return
        self._node.fleet.sending(wanted)
        stream.send(wanted)
        self._repeat_later(stream, wanted)

    def _repeat_later(self, stream: Stream, wanted: Assignment) -> None:
        def again() -> None:
            if stream.node_ended or self._node.streams.get(stream.link.name) is not stream:
                return
            facts = self._node.engine.view.member(wanted.member).facts
            if stream.newest is wanted and (facts is None or facts.obeyed != wanted.version):
                stream.send(wanted)
                self._repeat_later(stream, wanted)

        self._node.timer(_REPEATED_EVERY_US, again)

    # ---- effects ----

    def _perform(self, effect: Effect) -> None:
        node = self._node
        match effect:
            case Story():
                node.stories.append(effect)
                if len(node.stories) > 2_000:
                    del node.stories[:1_000]
                node.world.note(f"story {effect.epoch} {effect.name}: {effect.text} {effect.final}")
            case PublishNames(wanted):
                self._publish(wanted)
            case AskObservers(member, within_ms):
                for other in node.other_nodes:
                    self._ask(other, member, within_ms)
            case ProbeSql():
                self._probe(effect)
            case StandDown():
                node.election.resign()
            case unknown:
                assert_never(unknown)

    def _publish(self, wanted: WantedNames) -> None:
        running = self._publishing
        if running is not None:
            if _same_words(running.wanted, wanted):
                return
            running.cancelled = True

        def ended() -> None:
            if self._publishing is mine[0]:
                self._publishing = None

        mine: list[Publishing] = []
        mine.append(Publishing(self._node, wanted, self._node.feed, ended))
        self._publishing = mine[0]

    def _once(self, *key: str) -> bool:
        if key in self._running:
            return False
        self._running[key] = None
        return True

    def _answers(self, within_ms: int, key: tuple[str, ...], otherwise: Callable[[], ev.Event]) -> _Awaited:
        return _Awaited(self, self._node, self._term, within_ms, key, otherwise)

    def _ask(self, other: str, member: MemberName, within_ms: int) -> None:
        if not self._once("observers", other, member):
            return
        node, network, boot = self._node, self._node.fleet.network, self._node.boot
        awaited = self._answers(
            min(within_ms, 500),
            ("observers", other, member),
            lambda: ev.ObserverFailed(node.now, other, member),
        )
        asked = node.fleet.node(other)

        def look() -> None:
            heard_at = asked.heard_at.get(member)
            age_ms = None if heard_at is None else elapsed_ms(since=heard_at, now=asked.now)
            listening_ms = elapsed_ms(since=asked.listening_since, now=asked.now)
            node.world.count("observers asked")
            network.call(
                asked.place,
                node.place,
                lambda: node.receive(
                    lambda: awaited.answer(
                        ev.ObserverAnswered(node.now, other, member, age_ms, listening_ms)
                    ),
                    boot,
                ),
            )

        network.call(node.place, asked.place, lambda: asked.receive(look))

    def _probe(self, effect: ProbeSql) -> None:
        member = effect.member
        if not self._once("probe", member):
            return
        node, network, boot = self._node, self._node.fleet.network, self._node.boot
        awaited = self._answers(
            effect.within_ms,
            ("probe", member),
            lambda: ev.SqlProbed(node.now, member, ev.ProbeAnswer.SILENT),
        )

        def look() -> None:
            answer = node.fleet.probe(member)
            if answer is ev.ProbeAnswer.SILENT:
                return
            network.call(
                member,
                node.place,
                lambda: node.receive(lambda: awaited.answer(ev.SqlProbed(node.now, member, answer)), boot),
            )

        network.call(node.place, member, lambda: node.world.after(node.world.between(500, 30_000), look))

    def ended(self, key: tuple[str, ...]) -> None:
        self._running.pop(key, None)

    @property
    def term(self) -> int:
        return self._term


class _Awaited:
    """An answer with a deadline: the first of both counts."""

    def __init__(
        self,
        dispatch: Dispatch,
        node: Control,
        term: int,
        within_ms: int,
        key: tuple[str, ...],
        otherwise: Callable[[], ev.Event],
    ) -> None:
        self._dispatch, self._node, self._term, self._key = dispatch, node, term, key
        self._open = True
        node.timer(within_ms * 1_000, lambda: self.answer(otherwise()))

    def answer(self, event: ev.Event) -> None:
        if self._open and self._term == self._dispatch.term:
            self._open = False
            self._dispatch.ended(self._key)
            self._node.feed(event)


def _same_words(a: WantedNames, b: WantedNames) -> bool:
    """Only the revision of the record differs: what is under way may go on."""
    return (a.epoch, a.primary, a.replicas) == (b.epoch, b.primary, b.replicas)
