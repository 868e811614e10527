"""Model DNS: two authoritative servers of one zone, and a control node's publisher.

The publisher follows orchestrator/egress/dns_update.py (one update whose prerequisite is the version as seen)
and orchestrator/shell/publishing.py (until it is read back from every server, or superseded, or cancelled).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.core.events import NameOutcome, NamesAnswered
from orchestrator.core.names import NameVersion, WantedNames
from tests.simulator.model_network import DNS, Network
from tests.simulator.world import World

if TYPE_CHECKING:
    from tests.simulator.model_control import Control

_WITHIN_US = 500_000
_PAUSES_US = (100_000, 200_000, 400_000, 800_000, 1_600_000)
_ROUNDS_MAX = 8


class NameServers:
    """The zone's primary, and a secondary that follows it a moment later."""

    def __init__(self, world: World, network: Network, written: Callable[[WantedNames], None]) -> None:
        self.world, self.network, self._written = world, network, written
        self.primary: WantedNames | None = None
        self.secondary: WantedNames | None = None
        self.down_until_us = 0
        self.slow_until_us = 0

    def ask(self, node: str, apply: Callable[[], bool], answer: Callable[[bool], None]) -> None:
        """A datagram each way; a slow server answers, or does it, long after it was given up."""

        def arrived() -> None:
            if self.world.now_us < self.down_until_us:
                return
            takes_us = self.world.between(200, 3_000)
            if self.world.now_us < self.slow_until_us:
                takes_us += self.world.between(10_000, 4_000_000)
            self.world.after(takes_us, work)

        def work() -> None:
            result = apply()
            self.network.datagram(DNS, node, lambda: answer(result))

        self.network.datagram(node, DNS, arrived)

    def update(self, wanted: WantedNames, seen: NameVersion | None) -> bool:
        """RFC 2136: whole or not at all; False is NXRRSET."""
        standing = None if self.primary is None else self.primary.version
        if standing != seen:
            self.world.count("DNS changes that came too late")
            return False
        self.primary = wanted
        self._written(wanted)
        delay_us = self.world.between(1_000, 20_000)
        if self.world.now_us < self.slow_until_us:
            delay_us = self.world.between(100_000, 2_000_000)
        self.world.after(delay_us, self._transfer)
        return True

    def _transfer(self) -> None:
        self.secondary = self.primary


class Publishing:
    """One request: asked, looked at, asked again. `cancelled` ends it; what is on its way still arrives."""

    def __init__(
        self,
        node: Control,
        wanted: WantedNames,
        say: Callable[[NamesAnswered], None],
        ended: Callable[[], None],
    ) -> None:
        self._node, self._servers = node, node.names
        self.wanted, self._say, self._ended = wanted, say, ended
        self.cancelled = False
        self._round = 0
        self._failures = 0
        self._waiting = 0
        self._publish()

    def _call(
        self, apply: Callable[[], bool], answered: Callable[[bool], None], late: Callable[[], None]
    ) -> None:
        self._waiting += 1
        mine = self._waiting

        def once(result: bool) -> None:
            if mine == self._waiting and not self.cancelled:
                self._waiting += 1
                answered(result)

        def too_late() -> None:
            if mine == self._waiting and not self.cancelled:
                self._waiting += 1
                late()

        boot = self._node.boot
        self._servers.ask(
            self._node.name, apply, lambda result: self._node.receive(lambda: once(result), boot)
        )
        self._node.timer(_WITHIN_US, too_late)

    def _publish(self) -> None:
        seen = self._node.seen_names
        if not seen or seen[0] is None or seen[0] >= self.wanted.version:
            self._look()
        else:
            self._replace()

    def _look(self) -> None:
        self._round += 1
        found: list[WantedNames | None] = []

        def read() -> bool:
            found.append(self._servers.primary)
            return True

        def answered(_: bool) -> None:
            standing = found[-1]
            self._node.seen_names = (None if standing is None else standing.version,)
            if standing is not None and standing.version > self.wanted.version:
                self._finish(NameOutcome.SUPERSEDED, standing.version)
            elif standing == self.wanted:
                self._read_back()
            elif self._round > _ROUNDS_MAX:
                self._fail("each time the names had changed")
            else:
                self._replace()

        self._call(read, answered, lambda: self._fail("the name server does not answer"))

    def _replace(self) -> None:
        wanted, seen = self.wanted, self._node.seen_names[0]

        def answered(done: bool) -> None:
            if done:
                self._node.seen_names = (wanted.version,)
                self._say(self._answer(NameOutcome.PUBLISHED, wanted.version))
                self._read_back()
            else:
                self._look()

        self._call(lambda: self._servers.update(wanted, seen), answered, self._look)

    def _read_back(self) -> None:
        def agree() -> bool:
            return self._servers.primary == self.wanted and self._servers.secondary == self.wanted

        def answered(agreed: bool) -> None:
            if agreed:
                self._node.fleet.control_checkers.confirmed(self.wanted.epoch)
                self._finish(NameOutcome.CONFIRMED, self.wanted.version)
            else:
                self._fail("a server says something else")

        self._call(agree, answered, lambda: self._fail("a server does not answer"))

    def _answer(self, outcome: NameOutcome, version: NameVersion, text: str = "") -> NamesAnswered:
        return NamesAnswered(
            self._node.now, outcome, version.epoch, version.revision, text, wanted=self.wanted
        )

    def _finish(self, outcome: NameOutcome, version: NameVersion) -> None:
        self._say(self._answer(outcome, version))
        self.cancelled = True
        self._ended()

    def _fail(self, text: str) -> None:
        self._say(self._answer(NameOutcome.FAILED, self.wanted.version, text))
        pause_us = _PAUSES_US[min(self._failures, len(_PAUSES_US) - 1)]
        self._failures += 1
        self._round = 0
        self._node.timer(pause_us, lambda: None if self.cancelled else self._publish())
