"""What a filter between hosts drops, and the same as nft's rules. Pure.

Only IP is dropped: address resolution goes on, as it does when a firewall or a router is what fails. That is
what makes a one-way cut one-way: its other direction still finds its neighbour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

TABLE, CHAIN = "lab", "faults"


class Carried(Enum):
    """Which packets a filter is about."""

    EVERYTHING = ""
    TCP = "tcp"
    UDP = "udp"


class Way(Enum):
    BOTH = "both"
    OUT = "out"
    IN = "in"


@dataclass(frozen=True, slots=True)
class Drop:
    """`percent` of what one host sends to another; None stands for every other host."""

    sender: str | None
    receiver: str | None
    carried: Carried = Carried.EVERYTHING
    percent: int = 100

    def mistakes(self) -> list[str]:
        if not 1 <= self.percent <= 100:
            return [f"percent is {self.percent}: have 1 to 100"]
        if self.sender is None and self.receiver is None:
            return ["a filter names a sender or a receiver"]
        return []


def drops_around(
    host: str,
    peers: Iterable[str] | None,
    way: Way = Way.BOTH,
    carried: Carried = Carried.EVERYTHING,
    percent: int = 100,
) -> tuple[Drop, ...]:
    """Between a host and some peers (None: everybody), as seen from the host."""
    found: list[Drop] = []
    for peer in [None] if peers is None else sorted(set(peers) - {host}):
        if way is not Way.IN:
            found.append(Drop(host, peer, carried, percent))
        if way is not Way.OUT:
            found.append(Drop(peer, host, carried, percent))
    return tuple(found)


def drops_between(one: Iterable[str], other: Iterable[str]) -> tuple[Drop, ...]:
    """Everything between two groups of hosts, both ways."""
    others = sorted(set(other))
    return tuple(drop for host in sorted(set(one)) for drop in drops_around(host, others))


def nft_rules(drops: Iterable[Drop], port_of: Mapping[str, str]) -> str:
    """Replaces all rules of the chain at once, so that no packet sees half of a change."""
    lines = [f"flush chain bridge {TABLE} {CHAIN}"]
    for drop in drops:
        words = [f"add rule bridge {TABLE} {CHAIN}"]
        if drop.sender is not None:
            words.append(f'iifname "{port_of[drop.sender]}"')
        if drop.receiver is not None:
            words.append(f'oifname "{port_of[drop.receiver]}"')
        words.append("ether type ip")
        if drop.carried is not Carried.EVERYTHING:
            words.append(f"ip protocol {drop.carried.value}")
        if drop.percent < 100:
            words.append(f"numgen random mod 100 < {drop.percent}")
        lines.append(" ".join([*words, "drop"]))
    return "\n".join([*lines, ""])
