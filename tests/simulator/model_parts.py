"""The parts of the model PostgreSQL: records with content, walsenders, receivers, settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from common.assignment import HistoryStep

if TYPE_CHECKING:
    from tests.simulator.model_postgres import Postgres

RECORD = 128
"""Every record has this many bytes."""
_ANY = re.compile(r"^ANY (\d+) \((.*)\)$")


class Entry(msgspec.Struct, frozen=True):
    timeline: int
    start: int
    content: int
    """Identity, which PostgreSQL does not see: below 0 are promotions, probes and the like."""
    end: int
    """`start` and a record; kept, because nothing is asked for more often."""


@dataclass(frozen=True, slots=True)
class HistoryFile:
    """`pg_wal/*.history`. A placeholder's switch point lies in the far past, so nobody is its child (F5)."""

    placeholder: bool
    steps: tuple[HistoryStep, ...] = ()

    @property
    def fork(self) -> int:
        return 0 if self.placeholder or not self.steps else self.steps[-1].switch_lsn

    def is_parent_of(self, timeline: int, end: int) -> bool:
        """PostgreSQL's check: a log that ends there on that timeline lies on this history."""
        return not self.placeholder and any(
            step.timeline == timeline and end <= step.switch_lsn for step in self.steps
        )


PLACEHOLDER = HistoryFile(placeholder=True)


@lru_cache(maxsize=4096)
def parse_rule(text: str) -> tuple[int, frozenset[str]]:
    found = _ANY.match(text)
    if found is None:
        return 0, frozenset()
    return int(found[1]), frozenset(name.strip('"') for name in found[2].split(","))


class Walsender:
    __slots__ = (
        "alive",
        "disk",
        "flushed",
        "follower",
        "heard_at",
        "name",
        "pid",
        "rule",
        "slot",
        "streaming",
    )

    def __init__(self, pid: int, name: str, follower: Postgres, disk: int, rule: str, slot: str = "") -> None:
        self.pid, self.name, self.follower = pid, name, follower
        self.disk = disk
        """Which of the follower's."""
        self.rule = rule
        self.slot = slot
        """In use by it, under whatever name (E16)."""
        self.flushed = self.heard_at = 0
        self.alive = True
        self.streaming = False
        """It caught up: only then are its replies counted. Before, they are noted and release nobody."""


@dataclass(eq=False, slots=True)
class Waiter:
    entry: Entry
    acknowledged: Callable[[], None]


class Receiver:
    __slots__ = ("alive", "epoch", "received_at", "replied_at", "sender", "upstream")

    def __init__(self, upstream: Postgres, sender: Walsender, epoch: int, received_at: int) -> None:
        self.upstream, self.sender, self.epoch = upstream, sender, epoch
        self.alive = True
        self.received_at = received_at
        self.replied_at = 0


@dataclass(slots=True)
class Conf:
    rule: str = ""
    upstream: str = ""
    """The member followed."""
    address: str = ""
    """Where it is looked for, as host:port."""
    name: str = ""
    slot: str = ""
    epoch: int = 0
    closed: bool = True


def is_prefix(shorter: list[Entry], longer: list[Entry]) -> bool:
    """By content (I4)."""
    if len(shorter) > len(longer):
        return False
    return not shorter or shorter[-1] == longer[len(shorter) - 1] and contiguous(longer)


def contiguous(log: list[Entry]) -> bool:
    return len(log) < 2 or log[-2].end == log[-1].start
