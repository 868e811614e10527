"""Whether a client noticed anything, told from its journal alone."""

from __future__ import annotations

import json

import pytest

from deploy.bench.calm import Calm, calm, interrupted
from deploy.bench.verdict import Journal, read_journal

PERIOD_US = 10_000


def journal(times: list[int], connects: tuple[int, ...] = (0,)) -> Journal:
    lines: list[dict[str, object]] = [{"is": "begin", "at": 0, "period": PERIOD_US}]
    lines += [{"is": "connect", "at": at, "took": 1, "outcome": "ok", "address": ""} for at in connects]
    lines += [
        {"is": "insert", "n": n, "at": at - 1000, "done": at, "outcome": "ack"}
        for n, at in enumerate(times, 1)
    ]
    return read_journal(json.dumps(line) + "\n" for line in lines)


def steadily(begin_us: int, end_us: int) -> list[int]:
    return list(range(begin_us, end_us, PERIOD_US))


@pytest.mark.parametrize(("gap_us", "noticed"), [(15_000, False), (15_001, True)])
def test_a_gap_is_noticed_above_one_and_a_half_of_the_control_period_s(gap_us: int, noticed: bool) -> None:
    times = [*steadily(0, 1_000_001), *steadily(1_000_000 + gap_us, 2_000_000)]
    found = calm(journal(times), (0, 1_000_000), (1_000_000, 1_500_000), 2_000_000)
    assert (found.control_ms, found.longest_ms) == (10.0, gap_us / 1000)
    assert bool(interrupted([found])) is noticed


def test_a_gap_after_the_period_is_not_the_fault_s() -> None:
    times = [*steadily(0, 1_500_001), *steadily(1_700_000, 2_000_000)]
    found = calm(journal(times), (0, 1_000_000), (1_000_000, 1_500_000), 2_000_000)
    assert (found.longest_ms, found.after_ms) == (10.0, 200.0)
    assert interrupted([found]) == ""


def test_a_client_that_was_silent_to_the_end_of_the_period_was_silent() -> None:
    found = calm(journal(steadily(0, 1_100_001)), (0, 1_000_000), (1_000_000, 1_500_000), 2_000_000)
    assert found.longest_ms == 400.0


def test_reconnects_count_until_the_cluster_is_whole_again() -> None:
    connects = (0, 900_000, 1_200_000, 1_900_000, 2_100_000)
    found = calm(journal(steadily(0, 2_200_000), connects), (0, 1_000_000), (1_000_000, 1_500_000), 2_000_000)
    assert (found.reconnect_count, found.after_reconnect_count) == (1, 1)
    assert interrupted([found]) == "1 reconnects under it, 1 after it (longest gap then 10 ms)"


def test_without_a_round_nothing_is_claimed() -> None:
    assert interrupted([]) == "nothing was measured"
    assert interrupted([Calm(10.0, 10.0, 0)]) == ""
