"""Faults of the network between hosts, one call each. They add up until they are healed.

links.isolate("shop-a")                                  the link is down, the processes live
links.cut("shop-a", from_=("control1", "control2"))      from some peers only
links.cut("shop-a", way=Way.OUT)                         one way: nothing leaves it, everything reaches it
links.cut("shop-a", carried=Carried.UDP)                 UDP is filtered, TCP is not
links.cut("shop-a", percent=20)                          loses one packet in five
links.cut_site("east")                                   a site from all others
links.delay("shop-a", 50)                                50 ms more, each way
links.heal("shop-a"), links.heal_all()
"""

from __future__ import annotations

from collections.abc import Iterable

from deploy.lab.fault import Fault, now_us
from deploy.lab.filters import Carried, Drop, Way, drops_around, drops_between
from deploy.lab.fleet import Plan
from deploy.lab.network import Network


class Links:
    def __init__(self, plan: Plan, network: Network) -> None:
        self._plan = plan
        self._network = network
        self._drops: dict[str, tuple[Drop, ...]] = {}
        """By the host or site that they were asked for."""
        self._down: set[str] = set()
        self._slow: set[str] = set()

    def isolate(self, name: str) -> Fault:
        """The link is down, the processes live. Once it is up again the kernel may take as much as a second to see
        that (it gathers such events), so for a short silence `cut` is the exact one."""
        self._needs_cuts("isolating a host")
        at_us = now_us()
        self._network.cut(self._plan.host(name))
        self._down.add(name)
        return Fault("host isolated", name, at_us)

    def cut(
        self,
        name: str,
        *,
        from_: Iterable[str] | None = None,
        way: Way = Way.BOTH,
        carried: Carried = Carried.EVERYTHING,
        percent: int = 100,
    ) -> Fault:
        """Packets of a host, to and from the peers given (None: everybody)."""
        self._plan.host(name)
        drops = drops_around(name, from_, way, carried, percent)
        at_us = self._add(name, drops)
        return Fault(f"{name} cut off" if percent == 100 else f"{name} loses {percent} %", name, at_us)

    def cut_site(self, site: str) -> Fault:
        """Inside the site everybody goes on talking."""
        inside = {host.name for host in self._plan.site(site)}
        outside = {host.name for host in self._plan.hosts} - inside
        if not inside or not outside:
            raise ValueError(f"site {site!r} has {len(inside)} hosts, and {len(outside)} are elsewhere")
        at_us = self._add(site, drops_between(inside, outside))
        return Fault("site isolated", site, at_us)

    def delay(self, name: str, delay_ms: int) -> Fault:
        self._needs_cuts("delaying packets")
        host = self._plan.host(name)
        at_us = now_us()
        self._network.delay(host, delay_ms)
        self._slow.add(name)
        return Fault(f"{name} answers {2 * delay_ms} ms later", name, at_us)

    def heal(self, name: str) -> None:
        """Everything that was asked for under this host's or site's name."""
        if self._drops.pop(name, None) is not None:
            self._apply()
        if name in self._down:
            self._network.heal(self._plan.host(name))
            self._down.discard(name)
        if name in self._slow:
            self._network.straighten(self._plan.host(name))
            self._slow.discard(name)

    def heal_all(self) -> None:
        for name in [*self._drops, *self._down, *self._slow]:
            self.heal(name)

    def cut_hosts(self) -> frozenset[str]:
        """Whose link is down, or who can't be reached by TCP from somewhere. One that is slow, that loses some
        packets or UDP alone, is not among them: it does its part."""
        cut = {
            name
            for name, drops in self._drops.items()
            if any(drop.percent == 100 and drop.carried is not Carried.UDP for drop in drops)
        }
        sites = {host.site for host in self._plan.hosts if host.site in cut}
        below = {host.name for site in sites for host in self._plan.site(site)}
        return frozenset(self._down | below | (cut - sites))

    def forget(self, name: str) -> None:
        """The host has a new network: its link is up and has no delay; filters stand on the switch and stay."""
        self._down.discard(name)
        self._slow.discard(name)

    def _add(self, name: str, drops: tuple[Drop, ...]) -> int:
        self._needs_cuts("filtering packets")
        mistakes = [mistake for drop in drops for mistake in drop.mistakes()]
        if mistakes:
            raise ValueError("; ".join(sorted(set(mistakes))))
        self._drops[name] = (*self._drops.get(name, ()), *drops)
        at_us = now_us()
        self._apply()
        return at_us

    def _apply(self) -> None:
        self._network.filter([drop for drops in self._drops.values() for drop in drops])

    def _needs_cuts(self, what: str) -> None:
        if not self._network.cuts_links:
            raise NotImplementedError(f"{what} needs network namespaces (root)")
