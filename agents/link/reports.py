"""What the links ask of the keeper of facts, so that they know nothing of PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from common.datagram import BeatFrame, Header
from common.facts import Facts


class Reports(Protocol):
    @property
    def is_primary(self) -> bool: ...

    def facts(self) -> Facts: ...

    def beat(self, header: Header) -> BeatFrame: ...

    def listen(self, listener: Callable[[bool], None]) -> None:
        """It is called on each change that matters; with True when it can't wait even a few milliseconds."""
        ...
