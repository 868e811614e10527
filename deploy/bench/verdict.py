"""Judges a witness's journal: how long was the outage, was anything lost, did the client keep its pace.

Nothing here asks Primacy. The journal is the client's own; what is there at the end is read back from the
primary, all of it. The functions are pure; `python -m deploy.bench.verdict` feeds them from files.

    outage   the longest gap between two acknowledged inserts around the fault
    lost     an acknowledged n that is not on the primary at the end
    pace     at least 95 % of the inserts expected outside outages were acknowledged
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

PACE_AT_LEAST_PERCENT = 95
# A gap this long is an outage wherever it lies, and does not count against the pace.
OUTAGE_FROM_US = 100_000


@dataclass(frozen=True, slots=True)
class Acknowledged:
    n: int
    sent_us: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Connect:
    at_us: int
    took_us: int
    outcome: str
    address: str


@dataclass(frozen=True, slots=True)
class CutOff:
    """An insert whose connection broke while it waited for its answer; `servers`: whom the client may have had."""

    at_us: int
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Journal:
    began_us: int
    ended_us: int
    period_us: int
    acknowledged: tuple[Acknowledged, ...]
    in_doubt: frozenset[int]
    refused: frozenset[int]
    warned: frozenset[int]
    connects: tuple[Connect, ...]
    failed_at_us: tuple[int, ...] = ()
    """When the inserts were sent that were not acknowledged."""
    cut_off: Mapping[int, CutOff] = field(default_factory=dict)
    """By n; those of `in_doubt` that were not given up by the client itself."""

    @property
    def numbers(self) -> frozenset[int]:
        return frozenset(entry.n for entry in self.acknowledged)


@dataclass(frozen=True, slots=True)
class Outage:
    """From one acknowledgement to the next. `to_us` is None when none followed: the run has failed."""

    from_us: int
    to_us: int | None

    @property
    def length_us(self) -> int | None:
        return None if self.to_us is None else self.to_us - self.from_us


@dataclass(frozen=True, slots=True)
class Verdict:
    outages: tuple[Outage, ...]
    acknowledged_count: int
    lost: tuple[int, ...]
    visible_in_doubt_count: int
    """Present though never acknowledged: allowed, and worth knowing."""
    pace_percent: float
    reconnect_count: int
    complaints: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        return not self.complaints


def read_journal(lines: Iterable[str]) -> Journal:
    """A half-written last line (the client was killed) is left out."""
    began_us = ended_us = 0
    period_us = 10_000
    acknowledged: list[Acknowledged] = []
    failed: dict[str, set[int]] = {"in_doubt": set(), "refused": set(), "warned": set()}
    connects: list[Connect] = []
    failed_at_us: list[int] = []
    cut_off: dict[int, CutOff] = {}
    for line in lines:
        if not line.endswith("\n"):
            continue
        entry = json.loads(line)
        match entry["is"]:
            case "begin":
                began_us = began_us or entry["at"]
                period_us = entry["period"]
            case "end":
                ended_us = entry["at"]
            case "connect":
                connects.append(Connect(entry["at"], entry["took"], entry["outcome"], entry["address"]))
                ended_us = max(ended_us, entry["at"])
            case "insert":
                ended_us = max(ended_us, entry["done"])
                if entry["outcome"] == "ack":
                    acknowledged.append(Acknowledged(entry["n"], entry["at"], entry["done"]))
                else:
                    failed_at_us.append(entry["at"])
                    failed["in_doubt" if entry["in_doubt"] else "refused"].add(entry["n"])
                    if entry["outcome"] == "broken":
                        servers = connects[-1].address.split(",") if connects else ()
                        cut_off[entry["n"]] = CutOff(entry["done"], tuple(servers))
                    if entry["outcome"] == "warning":
                        failed["warned"].add(entry["n"])
            case unknown:
                raise ValueError(f"the journal has a line of kind {unknown!r}")
    return Journal(
        began_us,
        ended_us,
        period_us,
        tuple(acknowledged),
        frozenset(failed["in_doubt"]),
        frozenset(failed["refused"]),
        frozenset(failed["warned"]),
        tuple(connects),
        tuple(failed_at_us),
        cut_off,
    )


def outage_around(journal: Journal, fault_at_us: int, until_us: int | None = None) -> Outage:
    """The longest gap after the fault. One that spans `until_us`, the next fault, belongs to that."""
    until_us = journal.ended_us if until_us is None else until_us
    times = [entry.at_us for entry in journal.acknowledged]
    gaps = [
        Outage(before, after)
        for before, after in pairwise(times)
        if after > fault_at_us and (after <= until_us or before <= fault_at_us)
    ]
    last = times[-1] if times else journal.began_us
    if last <= fault_at_us:
        return Outage(last, None)
    if not gaps:
        raise ValueError("no two acknowledged inserts around the fault")
    return max(gaps, key=lambda gap: gap.length_us or 0)


def all_gaps(journal: Journal, from_us: int = OUTAGE_FROM_US) -> list[Outage]:
    times = [journal.began_us, *(entry.at_us for entry in journal.acknowledged), journal.ended_us]
    return [Outage(before, after) for before, after in pairwise(times) if after - before >= from_us]


def pace_percent(journal: Journal) -> float:
    """Acknowledged inserts, of those that fit into the time outside outages."""
    outside_us = journal.ended_us - journal.began_us
    outside_us -= sum(gap.length_us or 0 for gap in all_gaps(journal))
    expected = outside_us / journal.period_us
    return 100.0 if expected < 1 else 100.0 * len(journal.acknowledged) / expected


def judge(journal: Journal, present: Iterable[int], faults_at_us: Sequence[int] = ()) -> Verdict:
    """`present`: every n that the primary has at the end. A fault's outage reaches up to the next fault."""
    there = frozenset(present)
    ends = [*faults_at_us[1:], journal.ended_us]
    outages = tuple(
        outage_around(journal, fault, until) for fault, until in zip(faults_at_us, ends, strict=False)
    )
    lost = tuple(sorted(journal.numbers - there))
    pace = pace_percent(journal)
    complaints = []
    if not journal.acknowledged:
        complaints.append("nothing was acknowledged at all")
    if lost:
        complaints.append(f"{len(lost)} acknowledged rows are lost: {_some(lost)}")
    if pace < PACE_AT_LEAST_PERCENT:
        complaints.append(f"only {pace:.1f} % of the expected inserts outside outages were acknowledged")
    if any(outage.to_us is None for outage in outages):
        complaints.append("after a fault nothing was acknowledged any more")
    if len(journal.numbers) != len(journal.acknowledged):
        complaints.append("an n was used twice: the journal can't be judged")
    return Verdict(
        outages=outages,
        acknowledged_count=len(journal.acknowledged),
        lost=lost,
        visible_in_doubt_count=len(there & journal.in_doubt),
        pace_percent=pace,
        reconnect_count=max(sum(connect.outcome == "ok" for connect in journal.connects) - 1, 0),
        complaints=tuple(complaints),
    )


def _some(numbers: Sequence[int], most: int = 10) -> str:
    shown = ", ".join(map(str, numbers[:most]))
    return shown if len(numbers) <= most else f"{shown}, ..."


def main(words: list[str]) -> int:
    """JOURNAL PRESENT [FAULT_AT_US ...]: PRESENT holds one n a line, as `psql -At` prints them."""
    if len(words) < 2:
        print(f"usage: python -m deploy.bench.verdict {(main.__doc__ or '').split(':')[0]}", file=sys.stderr)
        return 2
    with Path(words[0]).open() as lines:
        journal = read_journal(lines)
    present = (int(line) for line in Path(words[1]).read_text().split())
    verdict = judge(journal, present, sorted(int(word) for word in words[2:]))
    for outage in verdict.outages:
        print("outage", "without end" if outage.length_us is None else f"{outage.length_us / 1000:.1f} ms")
    print(
        f"acknowledged {verdict.acknowledged_count}, lost {len(verdict.lost)},"
        f" pace {verdict.pace_percent:.1f} %"
    )
    for complaint in verdict.complaints:
        print("FAILED:", complaint)
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
