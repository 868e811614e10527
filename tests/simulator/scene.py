"""What a fault is given: who is who when it begins, its own dice, and how to do a thing for a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulator.dice import Dice
from tests.simulator.fleet import Fleet
from tests.simulator.model_control import Control
from tests.simulator.model_network import CONTROL, ETCD


@dataclass(frozen=True, slots=True)
class Scene:
    """`one` is a standby drawn by lot, `others` the remaining ones."""

    fleet: Fleet
    dice: Dice
    primary: str
    one: str
    others: tuple[str, ...]
    lost: list[str] = field(default_factory=list)
    """Members that lost their incarnation: then I5 has exceptions."""

    @property
    def members(self) -> tuple[str, ...]:
        return (self.primary, self.one, *self.others)

    @property
    def anybody(self) -> str:
        return self.dice.pick(self.members)

    @property
    def leader(self) -> Control:
        return self.fleet.control

    def ms(self, low: int, high: int) -> int:
        """Microseconds."""
        return self.dice.between(low * 1_000, high * 1_000)

    def later(self, low_ms: int, high_ms: int, happen: Callable[[], None]) -> None:
        self.after(self.ms(low_ms, high_ms), happen)

    def after(self, after_us: int, happen: Callable[[], None]) -> None:
        """A fault that waits for its moment may find it in the next round, whose own fault is not alone then (seed 10673948)."""
        self.fleet.in_store_until_us = max(self.fleet.in_store_until_us, self.fleet.world.now_us + after_us)
        self.fleet.world.after(after_us, happen)

    def lasts(self, duration_ms: int) -> None:
        """So much time it needs to come about: nothing is healed before."""
        until_us = self.fleet.world.now_us + duration_ms * 1_000
        self.fleet.lasts_until_us = max(self.fleet.lasts_until_us, until_us)

    def cut(self, a: str, b: str, low_ms: int = 50, high_ms: int = 5_000) -> None:
        for_us = self.ms(low_ms, high_ms)
        for x in self._places(a):
            for y in self._places(b):
                self.fleet.network.cut_for(x, y, for_us)

    def block(self, a: str, b: str, low_ms: int = 50, high_ms: int = 5_000) -> None:
        """One way."""
        for_us = self.ms(low_ms, high_ms)
        for x in self._places(a):
            for y in self._places(b):
                self.fleet.network.block(x, y, for_us)

    def _places(self, place: str) -> tuple[str, ...]:
        return self.fleet.network.controls if place == CONTROL else (place,)

    def lose(self, name: str, low_ms: int = 100, high_ms: int = 6_000) -> None:
        self.fleet.lose_host(name)
        self.later(low_ms, high_ms, lambda: self.fleet.restart_host(name))

    def lose_primary(self) -> None:
        """However a primary is lost: the host, the postmaster, or the network around it."""
        name = self.current_primary()
        kind = self.dice.draw(4)
        if kind <= 1:
            self.lose(name, 1_000, 6_000)
        elif kind == 2:
            self.fleet.kill_postmaster(name)
        else:
            self.isolate(name)

    def vanish(self) -> None:
        """The primary is gone for a while, and can't be asked."""
        name = self.current_primary()
        if self.dice.chance(700):
            self.lose(name, 2_500, 6_000)
        else:
            self.isolate(name)

    def isolate(self, name: str) -> None:
        for other in (*self.members, CONTROL):
            if other != name:
                self.cut(name, other, 500, 5_000)

    def current_primary(self) -> str:
        record = self.fleet.record()
        return self.primary if record is None or record.primary is None else str(record.primary)

    # ---- control nodes ----

    def kill(self, node: Control, low_ms: int = 300, high_ms: int = 6_000) -> None:
        """The others find out when its lease has run out; it comes back empty."""
        node.die()
        self.later(low_ms, high_ms, node.start)

    def freeze(self, node: Control, low_ms: int = 100, high_ms: int = 6_000) -> None:
        self.fleet.world.count("control nodes frozen")
        node.freeze()
        self.later(low_ms, high_ms, node.thaw)

    def cut_from_etcd(self, node: Control, low_ms: int = 300, high_ms: int = 6_000) -> None:
        kind = self.dice.draw(3)
        if kind == 0:
            self.cut(node.place, ETCD, low_ms, high_ms)
        elif kind == 1:
            self.block(ETCD, node.place, low_ms, high_ms)  # it writes, and never hears of it
        else:
            self.block(node.place, ETCD, low_ms, high_ms)

    def lead_again(self, low_ms: int = 50, high_ms: int = 2_500) -> None:
        """Once this leader has died another one leads: elected at once, or when its lease has run out."""
        leader = self.leader

        def succeed() -> None:
            if leader.alive and self.fleet.control is leader:
                self.later(300, 600, succeed)
                return
            if not leader.alive and self.fleet.control is leader and self.dice.chance(500):
                self.fleet.replace_leader()
            leader.start()

        self.later(low_ms, high_ms, succeed)


Fault = Callable[[Scene], None]


def scene(fleet: Fleet, dice: Dice) -> Scene:
    names = sorted(fleet.agents)
    record = fleet.record()
    primary = names[0] if record is None or record.primary is None else str(record.primary)
    standbys = [name for name in names if name != primary]
    one = dice.pick(standbys)
    return Scene(fleet, dice, primary, one, tuple(name for name in standbys if name != one))
