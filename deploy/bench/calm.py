"""Did the client notice a fault that nobody must notice? Pure.

measuring.md: no gap longer than 1.5 times the longest in an equally long control period of the same run, and no
reconnect. Each round has a control period right before its fault, as long as the client is watched under it; the
rule is applied to all rounds of a fault together, so that both sides are equally long and one slow moment of the
machine does not decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from deploy.bench.verdict import Journal


@dataclass(frozen=True, slots=True)
class Calm:
    """Of one round."""

    longest_ms: float
    """Gap under the fault, between two acknowledgements or up to an end of the period."""
    control_ms: float
    """The same in the control period."""
    reconnect_count: int
    """Under the fault."""
    after_ms: float = 0.0
    """Longest gap from then on, until the cluster was whole again: what was taken back starts meanwhile, on the same
    machine, so only a reconnect counts there."""
    after_reconnect_count: int = 0


def calm(journal: Journal, control_us: tuple[int, int], fault_us: tuple[int, int], until_us: int) -> Calm:
    """Periods are (from, to) of CLOCK_MONOTONIC in microseconds."""
    after_us = (fault_us[1], max(until_us, fault_us[1]))
    return Calm(
        _longest_gap_ms(journal, fault_us),
        _longest_gap_ms(journal, control_us),
        _reconnects(journal, fault_us),
        _longest_gap_ms(journal, after_us),
        _reconnects(journal, after_us),
    )


def interrupted(rounds: Iterable[Calm]) -> str:
    """What interrupted the client; empty for nothing."""
    seen = list(rounds)
    if not seen:
        return "nothing was measured"
    longest_ms = max(one.longest_ms for one in seen)
    control_ms = max(one.control_ms for one in seen)
    if 2 * longest_ms > 3 * control_ms:
        return f"a gap of {longest_ms:.0f} ms, against {control_ms:.0f} ms in the control periods"
    under, after = sum(one.reconnect_count for one in seen), sum(one.after_reconnect_count for one in seen)
    if under or after:
        longest_after_ms = max(one.after_ms for one in seen)
        return f"{under} reconnects under it, {after} after it (longest gap then {longest_after_ms:.0f} ms)"
    return ""


def _reconnects(journal: Journal, period_us: tuple[int, int]) -> int:
    return sum(period_us[0] <= connect.at_us < period_us[1] for connect in journal.connects)


def _longest_gap_ms(journal: Journal, period_us: tuple[int, int]) -> float:
    begin, end = period_us
    inside = [entry.at_us for entry in journal.acknowledged if begin <= entry.at_us < end]
    return max(after - before for before, after in pairwise([begin, *inside, end])) / 1000
