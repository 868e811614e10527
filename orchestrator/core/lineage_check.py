"""The leader's own comparison of a member's end with the lineage (protocol.md, R9).

Pure. The agent compares too (agents/core/lineage.py); leave to destroy is given only if both agree.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.assignment import HistoryStep, Position


def misfits(position: Position, timeline: int, history: Iterable[HistoryStep]) -> bool:
    """Whether a member that ends at `position` can't follow `timeline` as it is."""
    if position.timeline == timeline:
        return False
    return not any(
        step.timeline == position.timeline and position.end_lsn <= step.switch_lsn for step in history
    )
