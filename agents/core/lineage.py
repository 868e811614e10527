"""Does a member's log fit below an upstream's? (protocol.md, R9)

Pure. Timelines are unique (R11), so a timeline is a branch: a position fits when it lies on a
timeline of the upstream's history, not past the point where that timeline was left.
"""

from __future__ import annotations

from collections.abc import Iterable

from agents.core.steps import EndOfWal
from common.assignment import HistoryStep, Position
from common.facts import SealReport
from common.lsn import Lsn


def misfit(position: Position, timeline: int, history: Iterable[HistoryStep]) -> str:
    """Empty when the position fits; else why it does not, in words."""
    if position.timeline == timeline:
        return ""
    for step in history:
        if step.timeline == position.timeline:
            if position.end_lsn <= step.switch_lsn:
                return ""
            return (
                f"ends at {position.end_lsn} on timeline {position.timeline}, "
                f"{position.end_lsn - step.switch_lsn} bytes past {step.switch_lsn}, where timeline {timeline} forked off"
            )
    return f"is on timeline {position.timeline}, which is not in the history of timeline {timeline}"


def is_damaged(end: EndOfWal, flushed_lsn: Lsn | None) -> bool:
    """Whether WAL that was flushed can't be read any more (R1, V7); a torn last record is not damage."""
    if flushed_lsn is None or end.end_lsn >= flushed_lsn:
        return False
    beyond = end.next_record_would_end_lsn
    return beyond is None or beyond <= flushed_lsn


def ends_below_its_seal(end: EndOfWal, sealed_at: Position) -> bool:
    """A seal's end is the end of a record, and no flush LSN that may lie inside of one: nothing that crosses it is a torn
    record, whatever the bytes there look like."""
    return end.end_lsn < sealed_at.end_lsn


def latest_end(told: Position | None, seal: SealReport | None) -> Position | None:
    """Where its log ends, standing still. `told`: measured since the seal, which keeps its end for all of the epoch, while
    the member has attached and its log has grown."""
    return told if told is not None or seal is None else seal.position
