"""What a soak adds up: by fault, and by how many faults there were at once. Small, however long it goes on.

Pure. A number is kept for each round and nothing else of it, so that hours of rounds need no memory to speak of.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.judging import Row

SCHEMA = 1
TOGETHER = "several at once"
REMARKS_MAX = 500
"""Beyond it only the counts grow: a soak that is wrong in every round needs no longer list."""


@dataclass(frozen=True, slots=True)
class Played:
    """One round, as far as the totals need it."""

    number: int
    faults: tuple[str, ...]
    row: Row
    due_ms: float | None = None
    """Several at once: the bounds of all of them, and the time without a quorum."""
    no_quorum_s: float = 0.0
    met: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return self.faults[0] if len(self.faults) == 1 else TOGETHER

    @property
    def outage_ms(self) -> float | None:
        """The longer one of the two ways; None: it never ended, or nobody could be heard."""
        both = (self.row.outage_dns_ms, self.row.outage_multihost_ms)
        return None if None in both else max(ms for ms in both if ms is not None)


@dataclass(slots=True)
class Line:
    """One fault, alone; or all rounds with several."""

    count: int = 0
    together_count: int = 0
    """In how many rounds with other faults it was; its own columns have only those alone."""
    outages_ms: list[int] = field(default_factory=list)
    """Through DNS."""
    lost_rows: int = 0
    second_writers: int = 0
    late: int = 0
    wrong: int = 0

    @property
    def median_ms(self) -> int | None:
        return round(statistics.median(self.outages_ms)) if self.outages_ms else None

    @property
    def max_ms(self) -> int | None:
        return max(self.outages_ms, default=None)


@dataclass
class Totals:
    seed: int
    commit: str
    began: str
    """ISO 8601, UTC."""
    lines: dict[str, Line] = field(default_factory=dict)
    rounds: int = 0
    fleets: int = 0
    acknowledged: int = 0
    took_s: int = 0
    no_quorum_s: float = 0.0
    beyond_due: int = 0
    """Rounds with several faults whose outage was longer than all their bounds and the time without a quorum."""
    lost_later: int = 0
    """Rows that were there after their own round and not at their fleet's end."""
    remarks: list[str] = field(default_factory=list)
    """What was wrong or late, in words, with the round and its evidence."""
    ended: str = ""
    """Why; empty while it goes on, or where it was cut off."""

    def add(self, played: Played) -> None:
        row = played.row
        line = self.line(played.label)
        self.rounds += 1
        line.count += 1
        if row.outage_dns_ms is not None:
            line.outages_ms.append(round(row.outage_dns_ms))
        line.lost_rows += row.lost_count
        line.second_writers += row.second_writer_count
        line.wrong += bool(row.complaints)
        line.late += bool(row.late) and not row.complaints
        if len(played.faults) > 1:
            for name in sorted(set(played.faults)):
                self.line(name).together_count += 1
        if row.observed.hearing is not None:
            self.acknowledged += row.observed.hearing.acknowledged_count
        self.no_quorum_s += played.no_quorum_s
        outage_ms = played.outage_ms
        if played.due_ms is not None and outage_ms is not None and outage_ms > played.due_ms:
            self.beyond_due += 1
            self.remark(
                f"round {played.number}: {outage_ms:.0f} ms, {played.due_ms:.0f} ms were due: {row.name}"
            )
        where = f" (evidence: {row.evidence})" if row.evidence else ""
        for said in (*row.complaints, *row.late):
            verdict = "WRONG" if row.complaints else "late"
            self.remark(f"round {played.number}: {verdict}: {row.name}: {said}{where}")

    def line(self, name: str) -> Line:
        return self.lines.setdefault(name, Line())

    def remark(self, text: str) -> None:
        if len(self.remarks) < REMARKS_MAX:
            self.remarks.append(text)

    @property
    def wrong(self) -> int:
        return sum(line.wrong for line in self.lines.values()) + bool(self.lost_later)

    @property
    def late(self) -> int:
        return sum(line.late for line in self.lines.values())

    def as_json(self) -> dict[str, Any]:
        found = {"schema": SCHEMA, **asdict(self)}
        found["lines"] = {
            name: {
                "median_ms": line.median_ms,
                "max_ms": line.max_ms,
                **{key: value for key, value in asdict(line).items() if key != "outages_ms"},
            }
            for name, line in sorted(self.lines.items())
        }
        return found
