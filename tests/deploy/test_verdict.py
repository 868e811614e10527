"""The checker of the reference client's journal: it must see what it is there to see."""

from __future__ import annotations

import json
from collections.abc import Iterable

from deploy.bench.second_writer import Wrote, judge_pollers
from deploy.bench.verdict import Journal, judge, outage_around, read_journal

PERIOD_US = 10_000


def journal(
    acknowledged_at_us: Iterable[int], *, doubted: Iterable[int] = (), end_us: int | None = None
) -> Journal:
    times = list(acknowledged_at_us)
    lines: list[dict[str, object]] = [{"is": "begin", "at": 0, "period": PERIOD_US}]
    lines.append({"is": "connect", "at": 0, "took": 1, "outcome": "ok", "address": "10.77.10.1"})
    for n, at in enumerate(times, start=1):
        lines.append({"is": "insert", "n": n, "at": at - 1000, "done": at, "outcome": "ack"})
    for n in doubted:
        lines.append(
            {"is": "insert", "n": n, "at": 1, "done": 2, "outcome": "timeout", "in_doubt": True, "detail": ""}
        )
    lines.append({"is": "end", "at": times[-1] if end_us is None else end_us})
    return read_journal(json.dumps(line) + "\n" for line in lines)


def steadily(begin_us: int, end_us: int) -> list[int]:
    return list(range(begin_us, end_us, PERIOD_US))


WITH_A_FAULT = [*steadily(PERIOD_US, 1_000_000), *steadily(1_400_000, 3_000_000)]
ALL_ROWS = range(1, len(WITH_A_FAULT) + 1)


def test_an_outage_is_the_longest_gap_around_the_fault() -> None:
    (outage,) = judge(journal(WITH_A_FAULT), ALL_ROWS, [995_000]).outages
    assert outage.length_us == 1_400_000 - 990_000


def test_a_run_with_everything_there_passes() -> None:
    assert judge(journal(WITH_A_FAULT), ALL_ROWS, [995_000]).passed


def test_a_planted_loss_is_found() -> None:
    verdict = judge(journal(WITH_A_FAULT), set(ALL_ROWS) - {42}, [995_000])
    assert verdict.lost == (42,)
    assert not verdict.passed


def test_a_row_in_doubt_may_be_there_or_not() -> None:
    doubtful = journal(WITH_A_FAULT, doubted=[9_000, 9_001])
    verdict = judge(doubtful, [*ALL_ROWS, 9_000], [995_000])
    assert verdict.passed
    assert verdict.visible_in_doubt_count == 1


def test_a_client_that_hardly_wrote_proves_nothing() -> None:
    lazy = steadily(PERIOD_US, 3_000_000)[::2]
    verdict = judge(journal(lazy), range(1, len(lazy) + 1))
    assert not verdict.passed
    assert "expected inserts" in verdict.complaints[0]


def test_no_acknowledgement_after_the_fault_is_an_outage_without_end() -> None:
    verdict = judge(journal(steadily(PERIOD_US, 1_000_000), end_us=3_000_000), range(1, 100), [995_000])
    assert verdict.outages[0].length_us is None
    assert not verdict.passed


def test_an_outage_belongs_to_its_own_fault_and_not_to_the_next() -> None:
    times = [
        *steadily(PERIOD_US, 1_000_000),
        *steadily(1_300_000, 2_000_000),
        *steadily(2_900_000, 4_000_000),
    ]
    first, second = judge(journal(times), range(1, len(times) + 1), [995_000, 1_995_000]).outages
    assert (first.length_us, second.length_us) == (310_000, 910_000)


def test_a_half_written_last_line_is_left_out() -> None:
    found = read_journal(['{"is": "begin", "at": 1, "period": 10000}\n', '{"is": "ins'])
    assert found.acknowledged == ()


def test_an_empty_journal_passes_nothing() -> None:
    assert not judge(read_journal([]), []).passed


def test_outages_are_not_looked_for_before_the_fault() -> None:
    times = [*steadily(PERIOD_US, 500_000), *steadily(900_000, 2_000_000)]
    assert outage_around(journal(times), 1_500_000).length_us == PERIOD_US


def test_a_commit_that_the_later_primary_does_not_have_is_a_second_writer() -> None:
    wrote = [Wrote("a", 1, 10, ""), Wrote("a", 2, 20, ""), Wrote("b", 1, 30, "")]
    missing = judge_pollers(wrote, {"a": frozenset({1}), "b": frozenset({1})})
    assert missing == [Wrote("a", 2, 20, "")]
