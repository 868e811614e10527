"""What both wirings of a lab offer: a place for each host to run its processes in, and a link to cut."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from deploy.lab.filters import Drop
from deploy.lab.fleet import Host
from deploy.lab.processes import Marks


class Network(Protocol):
    cuts_links: bool
    """Whether a lost host falls silent at once. Without it a lost host is only frozen, and is labelled so."""

    def build(self) -> None: ...

    def remove(self) -> None: ...

    def entering(self, host: Host, *, uid: int, gid: int) -> list[str]:
        """What to put before a command so that it runs on the host as that user."""
        ...

    def marks(self, host: Host) -> Marks: ...

    def cut(self, host: Host) -> None:
        """From now on no packet leaves or reaches the host."""
        ...

    def heal(self, host: Host) -> None: ...

    def filter(self, drops: Iterable[Drop]) -> None:
        """From now on exactly these packets are dropped; none with an empty list."""
        ...

    def delay(self, host: Host, delay_ms: int) -> None:
        """From now on everything that leaves or reaches the host takes that much longer."""
        ...

    def straighten(self, host: Host) -> None:
        """No delay any more."""
        ...

    def forget(self, host: Host) -> None:
        """Drop what the kernel still knows of a dead host, its sockets first of all."""
        ...

    def renew(self, host: Host) -> None:
        """Give a forgotten host a new, empty network."""
        ...

    def ends_seen(self, host: Host) -> int | None:
        """How many TCP segments with FIN or RST the host has sent so far; None where nobody counts."""
        ...
