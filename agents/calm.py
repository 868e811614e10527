"""After the crash of a primary whose commits wait for others: they are about to take over, and nothing is measured beside them.

A measurement of what has crashed goes through all processes of the host, for some milliseconds of a processor that the
others may share. Pure.
"""

from __future__ import annotations

from agents.core.recipe_seal import STANDBYS_FIRST_MS
from common.rule import Rule
from common.timebase import Instant, after_ms


class Calm:
    def __init__(self) -> None:
        self._until = Instant(0)

    def died(self, now: Instant, *, ordered: bool, served: Rule | None) -> None:
        """`served`: the rule that it served under; None: it was no primary. One that served alone is replaced by nobody."""
        if served is not None and served.waits and not ordered:
            self._until = after_ms(now, STANDBYS_FIRST_MS)  # as long as its seal waits

    def left_s(self, now: Instant) -> float:
        return max(0, self._until - now) / 1_000_000
