"""What the fleet must bear while nothing is broken, and how it is brought about.

Loss is on the primary's link: of everything that it sends and that is sent to it, to clients too, so many packets in a
hundred are dropped at the switch, drawn anew for each. Busy means one endless loop for each core, at normal priority.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deploy.lab.fleet import CLIENT_HOST
from deploy.lab.witnessed import Witnessed

_BUSY = "while True: pass"


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    loss_percent: int = 0
    busy: bool = False


CONDITIONS = (
    Condition("quiet"),
    Condition("5 % loss", loss_percent=5),
    Condition("20 % loss", loss_percent=20),
    Condition("busy", busy=True),
    Condition("busy, 20 % loss", loss_percent=20, busy=True),
)


class Link:
    """The primary's, which loses packets; the loss goes where the primary goes."""

    def __init__(self, cluster: Witnessed, percent: int) -> None:
        self._cluster, self._percent = cluster, percent
        self._member = ""

    def follow(self, primary: str) -> None:
        if not self._percent or not primary or primary == self._member:
            return
        self.heal()
        self._cluster.lab.faults.links.cut(self._cluster.host_of(primary), percent=self._percent)
        self._member = primary

    def heal(self) -> None:
        if self._member:
            self._cluster.lab.faults.links.heal(self._cluster.host_of(self._member))
            self._member = ""


@contextmanager
def in_force(cluster: Witnessed, condition: Condition) -> Iterator[Link]:
    """Taken back whatever happens."""
    link = Link(cluster, condition.loss_percent)
    loops: list[subprocess.Popen[bytes]] = []
    try:
        if condition.busy:
            command = (cluster.lab.programs.python, "-c", _BUSY)
            loops += [cluster.lab.launch_on(CLIENT_HOST, command) for _ in range(os.cpu_count() or 2)]
        link.follow(cluster.primary)
        yield link
    finally:
        link.heal()
        for loop in loops:
            loop.kill()
            loop.wait()
