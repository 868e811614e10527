"""The deadline of an open primary, by a truth of its own: when each reason to stay up was really begun.

"Staying up": it is s + L for the latest s, read before anything was sent; it only grows, and one that is nearer than G
is final. Whoever sends a beat or begins a commit says so here, before the answer can come.
"""

from __future__ import annotations

from common.timebase import MS_US, Instant
from tests.simulator.violation import Violation

_REMEMBERED = 400
"""Beginnings; a beat every 50 ms, for longer than any lease."""


class DeadlineTruth:
    """Of one host, in its own clock."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun: dict[int, None] = {}

    def begins(self, at: Instant) -> Instant:
        """A reason begins now: a beat is sent, a commit is begun."""
        self._begun[at] = None
        if len(self._begun) > _REMEMBERED:
            del self._begun[next(iter(self._begun))]
        return at

    def moved(
        self, before: Instant | None, after: Instant | None, *, now: Instant, lease_ms: int, margin_ms: int
    ) -> None:
        """An answer came, and this became of the deadline."""
        if after == before:
            return
        if before is not None and now >= before - margin_ms * MS_US:
            raise Violation(f"U: the deadline of {self._name} was final, and became {after} from {before}")
        if after is None or (before is not None and after < before):
            raise Violation(f"U: the deadline of {self._name} shrinks from {before} to {after}")
        if after - lease_ms * MS_US not in self._begun:
            raise Violation(
                f"U: the deadline of {self._name} is {after}, and no reason was begun {lease_ms} ms before that"
            )
