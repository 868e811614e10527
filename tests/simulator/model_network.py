"""The model network: what is sent between hosts, control nodes, etcd and name servers, and what becomes of it.

Three kinds of sending, as in production: a datagram may be lost, doubled, late and out of order; a call is TCP,
so what is lost comes a retransmission later, or never, while the path is cut for longer; a stream is a call
that is never overtaken. Places are names; each lies in a site; a cut may be one-way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tests.simulator.world import World

CONTROL = "control"
"""Stands for every control node in a cut."""
ETCD = "etcd"
DNS = "dns"
_RETRANSMITTED_AFTER_US = (200_000, 400_000, 800_000, 1_600_000)
"""Then the connection is given up (half open until somebody notices)."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How the network is: the same everywhere, but for cuts."""

    latency_us: int = 200
    jitter_us: int = 2_800
    loss_permille: int = 0
    doubled_permille: int = 0
    slow_permille: int = 0
    """So many are late by up to `slow_us`: with datagrams, that is what puts them out of order."""
    slow_us: int = 150_000
    between_sites_us: int = 0


CALM = Weather()


class Cuts:
    """Pairs that can't reach each other, either way; `control` in a pair means all control nodes."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._pairs: dict[tuple[str, str], None] = {}

    def add(self, pair: Iterable[str]) -> None:
        self._pairs[self._sorted(pair)] = None
        self._network.look_again()

    def __ior__(self, pairs: Iterable[Iterable[str]]) -> Cuts:
        for pair in pairs:
            self.add(pair)
        return self

    def discard(self, pair: Iterable[str]) -> None:
        self._pairs.pop(self._sorted(pair), None)
        self._network.look_again()

    def clear(self) -> None:
        self._pairs.clear()
        self._network.look_again()

    def __contains__(self, pair: Iterable[str]) -> bool:
        return self._sorted(pair) in self._pairs

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    @staticmethod
    def _sorted(pair: Iterable[str]) -> tuple[str, str]:
        a, b = sorted(pair)
        return a, b


class Network:
    def __init__(self, world: World, sites: Mapping[str, str], controls: tuple[str, ...]) -> None:
        self.world = world
        self.sites = sites
        self.controls = controls
        self.weather = CALM
        self.cut = Cuts(self)
        self.off: set[str] = set()
        """Hosts without power: nothing comes from them, nothing arrives."""
        self._one_way: dict[tuple[str, str], int] = {}
        """(from, to) → until when; 0 for good."""
        self._blocked: dict[tuple[str, str], int] = {}
        self._streamed: dict[tuple[str, str], int] = {}
        self._delivered: dict[tuple[str, str], int] = {}
        self._filtered: dict[tuple[str, str], int] = {}
        """(from, to) → until when no stream passes, while everything else does."""

    # ---- faults ----

    def filter_streams(self, a: str, b: str, for_us: int) -> None:
        """A firewall that forgot the connection: what a sends over it is dropped without a word."""
        self._filtered[a, b] = self.world.now_us + for_us

    def block(self, a: str, b: str, for_us: int = 0) -> None:
        """Nothing from a reaches b."""
        until_us = self.world.now_us + for_us if for_us else 0
        known = self._one_way.get((a, b))
        if known is None or (known and (until_us == 0 or until_us > known)):
            self._one_way[a, b] = until_us
        self.look_again()

    def cut_for(self, a: str, b: str, for_us: int) -> None:
        self.block(a, b, for_us)
        self.block(b, a, for_us)

    def of_site(self, site: str) -> list[str]:
        return sorted(place for place, its in self.sites.items() if its == site)

    def cut_site(self, site: str, for_us: int, *, one_way: bool = False) -> None:
        """From everything that lies elsewhere."""
        inside = self.of_site(site)
        for place in sorted(self.sites):
            if place not in inside:
                for other in inside:
                    self.block(other, place, for_us)
                    if not one_way:
                        self.block(place, other, for_us)

    def heal(self) -> None:
        self._one_way.clear()
        self._filtered.clear()
        self.cut.clear()
        self.weather = CALM
        self.look_again()

    def look_again(self) -> None:
        """What is cut has changed."""
        blocked = dict(self._one_way)
        for a, b in self.cut:
            for x in self._meant(a):
                for y in self._meant(b):
                    blocked[x, y] = blocked[y, x] = 0
        self._blocked = blocked

    def _meant(self, place: str) -> tuple[str, ...]:
        return self.controls if place == CONTROL else (place,)

    # ---- looking ----

    def passes(self, a: str, b: str) -> bool:
        """Whether what leaves a now arrives at b."""
        if self.off and (a in self.off or b in self.off):
            return False
        if not self._blocked:
            return True
        until_us = self._blocked.get((a, b))
        if until_us is None:
            return True
        if until_us and self.world.now_us >= until_us:
            self._one_way.pop((a, b), None)
            self.look_again()
            return (a, b) not in self._blocked
        return False

    def both_ways(self, a: str, b: str) -> bool:
        if not self._blocked and not self.off:
            return True
        return self.passes(a, b) and self.passes(b, a)

    # ---- sending ----

    def _takes_us(self, a: str, b: str) -> int:
        weather, world = self.weather, self.world
        takes_us = world.between(weather.latency_us, weather.latency_us + weather.jitter_us)
        if weather.between_sites_us and self.sites.get(a) != self.sites.get(b):
            takes_us += weather.between_sites_us
        if weather.slow_permille and world.chance(weather.slow_permille):
            takes_us += world.between(0, weather.slow_us)
        return takes_us

    def datagram(self, a: str, b: str, arrive: Callable[[], None]) -> None:
        if not self.passes(a, b):
            return
        world, weather = self.world, self.weather
        if weather.loss_permille and world.chance(weather.loss_permille):
            world.count("datagrams lost")
            return

        def land() -> None:
            if self.passes(a, b):
                arrive()

        world.after(self._takes_us(a, b), land)
        if weather.doubled_permille and world.chance(weather.doubled_permille):
            world.count("datagrams doubled")
            world.after(self._takes_us(a, b), land)

    def call(self, a: str, b: str, arrive: Callable[[], None], failed: int = 0) -> None:
        """TCP: nothing is lost on a good path; on a cut one it comes late, or not at all."""
        if self.off and a in self.off:
            return
        lossy = self.weather.loss_permille
        if not self.passes(a, b) or (lossy and self.world.chance(lossy)):
            if failed < len(_RETRANSMITTED_AFTER_US):
                again_us = _RETRANSMITTED_AFTER_US[failed]
                self.world.after(again_us, lambda: self.call(a, b, arrive, failed + 1))
            return

        def land() -> None:
            if self.passes(a, b):
                arrive()
            else:
                self.call(a, b, arrive, failed + 1)

        self.world.after(self._takes_us(a, b), land)

    def stream(self, a: str, b: str, arrive: Callable[[], None]) -> None:
        """What comes after a newer message of the same stream is not delivered: the newest is the whole."""
        if self._filtered and self.world.now_us < self._filtered.get((a, b), 0):
            return
        number = self._streamed[a, b] = self._streamed.get((a, b), 0) + 1

        def in_order() -> None:
            if number > self._delivered.get((a, b), 0):
                self._delivered[a, b] = number
                arrive()

        self.call(a, b, in_order)
