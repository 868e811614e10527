"""All witnesses of one fault together: writers and readers, through DNS and through a multi-host string.

Pure; nothing here asks Primacy. A complaint is a broken promise (a lost row, a second writer, a read that was too
old, a row that vanished), or a run that can't be judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.bench.reads import STALE_BOUND_US, Read, flashed, oldest, stale, vanished
from deploy.bench.second_writer import Wrote
from deploy.bench.verdict import Journal, outage_around


@dataclass(frozen=True, slots=True)
class Hearing:
    outage_ms: Mapping[str, float | None]
    """By writer, the longest gap around the fault; None: it never ended."""
    reconnects: Mapping[str, int]
    """By writer, since the fault."""
    acknowledged_count: int
    lost: tuple[tuple[str, int], ...]
    """(table, n)"""
    in_doubt_visible_count: int
    """There though never acknowledged: allowed, and worth knowing."""
    second_writes: tuple[Wrote, ...]
    oldest_read_ms: float
    stale_read_count: int
    vanished: tuple[tuple[str, int], ...]
    """(table, n); those of them that PostgreSQL alone showed (`flashed`) are no complaint."""
    flashed: tuple[tuple[str, int], ...]
    complaints: tuple[str, ...]


def hear(
    journals: Mapping[str, Journal],
    present: Mapping[str, frozenset[int]],
    reads: Sequence[Read],
    second_writes: Sequence[Wrote],
    fault_at_us: int,
    *,
    stale_bound_us: int = STALE_BOUND_US,
) -> Hearing:
    """`journals` by writer; `present` has by writer all n of its table, read from the primary at the end."""
    complaints = [
        f"{name} was acknowledged nothing" for name, one in journals.items() if not one.acknowledged
    ]
    outage_ms = {name: _outage_ms(one, fault_at_us) for name, one in journals.items()}
    lost = tuple((name, n) for name, one in journals.items() for n in sorted(one.numbers - present[name]))
    missing = oldest(reads, {name: one.acknowledged for name, one in journals.items()})
    too_old = stale(missing, stale_bound_us)
    gone = vanished(reads, present)
    excused = flashed(gone, reads, {name: one.cut_off for name, one in journals.items()})
    shown = [row for row in gone if row not in excused]
    if lost:
        complaints.append(f"{len(lost)} acknowledged rows are lost: {_some(lost)}")
    if second_writes:
        who = sorted({f"{wrote.member} ({wrote.where})" for wrote in second_writes})
        complaints.append(f"{len(second_writes)} rows of a second writer: {', '.join(who[:5])}")
    if too_old:
        first = too_old[0]
        complaints.append(
            f"{len(too_old)} reads were too old, the oldest by {first.age_us / 1000:.0f} ms,"
            f" from {first.read.server or 'a local socket'}"
        )
    if shown:
        complaints.append(f"{len(shown)} rows were shown and are gone: {_some(shown)}")
    if not reads:
        complaints.append("no reader was ever answered")
    return Hearing(
        outage_ms=outage_ms,
        reconnects={
            name: sum(connect.outcome == "ok" and connect.at_us > fault_at_us for connect in one.connects)
            for name, one in journals.items()
        },
        acknowledged_count=sum(len(one.acknowledged) for one in journals.values()),
        lost=lost,
        in_doubt_visible_count=sum(len(one.in_doubt & present[name]) for name, one in journals.items()),
        second_writes=tuple(second_writes),
        oldest_read_ms=missing[0].age_us / 1000 if missing else 0.0,
        stale_read_count=len(too_old),
        vanished=tuple(gone),
        flashed=tuple(excused),
        complaints=tuple(complaints),
    )


def _outage_ms(journal: Journal, fault_at_us: int) -> float | None:
    try:
        length_us = outage_around(journal, fault_at_us).length_us
    except ValueError:  # acknowledged once, and never again
        return None
    return None if length_us is None else length_us / 1000


def _some(rows: Sequence[tuple[str, int]], most: int = 5) -> str:
    shown = ", ".join(f"{table} {n}" for table, n in rows[:most])
    return shown if len(rows) <= most else f"{shown}, ..."
