"""Hosts as addresses of their own on loopback: for an ordinary user, or where namespaces can't be had.

Linux answers for all of 127.0.0.0/8 without any set-up. No link can be cut here: a lost host is frozen and
later killed, and every figure from it is labelled "frozen, no network cut".
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

from deploy.lab.filters import Drop
from deploy.lab.fleet import Host, Plan
from deploy.lab.processes import HOST_VARIABLE, RUN_VARIABLE, Marks
from deploy.lab.run_folder import RunId

FIRST_NET, LAST_NET = 64, 127
# Bound by each lab for as long as it lives, so that two labs never share a net of addresses.
CLAIM_PORT = 7429


class LoopbackNetwork:
    cuts_links = False

    def __init__(self, plan: Plan, run: RunId, folder: Path) -> None:
        self._plan = plan
        self._run = run
        self._folder = folder

    def build(self) -> None:
        """Nothing to do: the addresses are there."""

    def remove(self) -> None:
        """Nothing to do."""

    def entering(self, host: Host, *, uid: int, gid: int) -> list[str]:
        if os.geteuid() != 0 or uid == 0:
            return []
        return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--"]

    def marks(self, host: Host) -> Marks:
        environment = (f"{RUN_VARIABLE}={self._run}".encode(), f"{HOST_VARIABLE}={host.name}".encode())
        return Marks(None, environment, self._folder / "hosts" / host.name)

    def cut(self, host: Host) -> None:
        """Not possible here (see `cuts_links`)."""

    def heal(self, host: Host) -> None:
        """Nothing was cut."""

    def filter(self, drops: Iterable[Drop]) -> None:
        """Not possible here."""

    def delay(self, host: Host, delay_ms: int) -> None:
        """Not possible here."""

    def straighten(self, host: Host) -> None:
        """Nothing was delayed."""

    def forget(self, host: Host) -> None:
        """The kernel shares its sockets among all hosts here."""

    def renew(self, host: Host) -> None:
        """The address is still there."""

    def ends_seen(self, host: Host) -> int | None:
        return None


def claim_net() -> tuple[int, socket.socket]:
    """A second octet that no other lab uses; it is ours until the socket is closed."""
    for net in range(FIRST_NET, LAST_NET + 1):
        claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            claim.bind((f"127.{net}.0.1", CLAIM_PORT))
        except OSError:
            claim.close()
            continue
        return net, claim
    raise RuntimeError("every net from 127.64 to 127.127 is in use by another lab")
