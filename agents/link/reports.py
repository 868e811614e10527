"""What the links ask of the keeper of facts, so that they know nothing of PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from common.datagram import BeatFrame, Header
from common.facts import Facts


class Urgency(IntEnum):
    """How soon a change is told."""

    SOON = 0
    """Together with what else changes within some tens of milliseconds."""
    REPORTED = 1
    """At once, to the leader: only a report holds it, and a beat would say nothing new."""
    BEATEN = 2
    """At once, by a beat to every control node as well."""


Listener = Callable[[Urgency], None]


class Reports(Protocol):
    @property
    def is_primary(self) -> bool: ...

    def facts(self) -> Facts: ...

    def beat(self, header: Header) -> BeatFrame: ...

    def listen(self, listener: Listener) -> None:
        """It is called on each change that matters."""
        ...
