"""Judges what readers saw: was an answer older than it may be, and did a row vanish that somebody had seen?

Pure. Every witness runs on one machine and takes its times from one clock, so they can be compared.

    age        how long a row had been acknowledged, before the question was sent, that the answer does not have;
               0 for the newest there is. Only a primary's answers are judged: a standby may lag
    stale      an age above the bound of protocol.md: (V + L) / (1 - rho), 6.7 s with the default profile
    vanished   a row that a primary's answer had and that is not there at the end: it was shown before it was
               safe, or was lost
    flashed    one that vanished, and was shown only as nobody but PostgreSQL could help it (docs/protocol.md, "What
               can't be promised"): its postmaster died, which ends the wait of its commit unanswered, and a backend
               that outlived the postmaster showed it before it ended too
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deploy.bench.verdict import Acknowledged, CutOff

# The lease, how long a leader trusts its proof, the drift between clocks (docs/protocol.md, "Staying up").
LEASE_US, PROOF_US, DRIFT_PERCENT = 5_000_000, 1_000_000, 10
STALE_BOUND_US = (LEASE_US + PROOF_US) * 100 // (100 - DRIFT_PERCENT)
# A backend ends once it waits for its client and its postmaster is gone, one that runs a query at the end of that.
FLASH_US = 50_000


@dataclass(frozen=True, slots=True)
class Read:
    at_us: int
    done_us: int
    standby: bool
    server: str
    seen: Mapping[str, int]
    """The newest n by table."""
    connected_at_us: int = 0
    """When the session that answered was opened. 0: not known."""


@dataclass(frozen=True, slots=True)
class Missing:
    """An answer that lacks a row of this table which had been acknowledged `age_us` before it was asked for."""

    read: Read
    table: str
    age_us: int


def read_reads(lines: Iterable[str]) -> list[Read]:
    """A half-written last line is left out."""
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return [
        Read(e["at"], e["done"], e["standby"], e["server"], e["seen"], e.get("connected", 0)) for e in entries
    ]


def oldest(reads: Iterable[Read], acknowledged: Mapping[str, Sequence[Acknowledged]]) -> list[Missing]:
    """Every answer of a primary that lacks something, the oldest first. `acknowledged`: by table, in order."""
    numbers = {table: [entry.n for entry in rows] for table, rows in acknowledged.items()}
    found: list[Missing] = []
    for read in reads:
        if read.standby:
            continue
        for table, rows in acknowledged.items():
            # The rows of one table are acknowledged in the order of their n: the first one above is the oldest.
            index = bisect_right(numbers[table], read.seen.get(table, 0))
            if index < len(rows) and rows[index].at_us < read.at_us:
                found.append(Missing(read, table, read.at_us - rows[index].at_us))
    return sorted(found, key=lambda missing: -missing.age_us)


def stale(missing: Iterable[Missing], bound_us: int = STALE_BOUND_US) -> list[Missing]:
    return [one for one in missing if one.age_us > bound_us]


def vanished(reads: Iterable[Read], present: Mapping[str, frozenset[int]]) -> list[tuple[str, int]]:
    """(table, n) of rows that a primary showed and that the primary at the end does not have."""
    seen = {(table, n) for read in reads if not read.standby for table, n in read.seen.items() if n}
    return sorted((table, n) for table, n in seen if table in present and n not in present[table])


def flashed(
    gone: Iterable[tuple[str, int]], reads: Sequence[Read], cut_off: Mapping[str, Mapping[int, CutOff]]
) -> list[tuple[str, int]]:
    """Those of `gone` (of `vanished`) that only backends without a postmaster can have shown. `cut_off` by table, then
    by n. Each showing must be the last answer of a session, on the server of the insert, that was opened before the
    insert was cut off, and asked no later than `FLASH_US` after it: no server that was started afterwards is excused,
    and none that lived on."""
    found = []
    for table, n in gone:
        cut = cut_off.get(table, {}).get(n)
        shown = [read for read in reads if not read.standby and read.seen.get(table) == n]
        if cut is not None and all(_is_a_flash(read, cut, reads) for read in shown):
            found.append((table, n))
    return found


def _is_a_flash(read: Read, cut: CutOff, reads: Sequence[Read]) -> bool:
    session = (read.server, read.connected_at_us)
    answered_again = any(
        (other.server, other.connected_at_us) == session and other.at_us > read.at_us for other in reads
    )
    return (
        0 < read.connected_at_us < cut.at_us
        and read.at_us < cut.at_us + FLASH_US
        and read.server in cut.servers
        and not answered_again
    )
