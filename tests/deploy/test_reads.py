"""The checker of the readers' journals, and of all witnesses together: it must see what it is there to see."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from deploy.bench.hearing import hear
from deploy.bench.reader import question
from deploy.bench.reads import FLASH_US, STALE_BOUND_US, Read, flashed, oldest, read_reads, stale, vanished
from deploy.bench.second_writer import Wrote
from deploy.bench.verdict import Acknowledged, CutOff, Journal, read_journal

ROWS = [Acknowledged(n, n * 10_000 - 1_000, n * 10_000) for n in range(1, 101)]


def answered(at_us: int, n: int, *, standby: bool = False) -> Read:
    return Read(at_us, at_us + 500, standby, "10.77.10.1", {"rows": n})


def test_the_newest_answer_has_no_age() -> None:
    assert oldest([answered(500_000 - 1, 49)], {"rows": ROWS}) == []


@pytest.mark.parametrize(
    ("at_us", "n", "age_us"),
    [
        pytest.param(500_001, 49, 1, id="one_row_behind"),
        pytest.param(900_000, 49, 400_000, id="the_oldest_row_that_is_missing_counts"),
        pytest.param(9_000_000, 49, 8_500_000, id="also_long_after_the_last_write"),
        pytest.param(500_000, 0, 490_000, id="nothing_at_all"),
    ],
)
def test_an_answer_is_as_old_as_the_first_row_it_lacks(at_us: int, n: int, age_us: int) -> None:
    (missing,) = oldest([answered(at_us, n)], {"rows": ROWS})
    assert missing.age_us == age_us


def test_a_standby_may_lag() -> None:
    assert oldest([answered(900_000, 1, standby=True)], {"rows": ROWS}) == []


def test_a_read_is_stale_above_the_bound_and_not_at_it() -> None:
    at_us = ROWS[0].at_us + STALE_BOUND_US
    assert stale(oldest([answered(at_us, 0)], {"rows": ROWS})) == []
    assert len(stale(oldest([answered(at_us + 1, 0)], {"rows": ROWS}))) == 1


def test_the_bound_is_that_of_the_protocol() -> None:
    assert 6_600_000 < STALE_BOUND_US < 6_700_000


def test_a_row_that_a_primary_showed_must_stay() -> None:
    reads = [answered(1, 7), answered(2, 8, standby=True), answered(3, 0)]
    assert vanished(reads, {"rows": frozenset({7})}) == []
    assert vanished(reads, {"rows": frozenset({6})}) == [("rows", 7)]


def shown(
    *, connected_us: int = 100, at_us: int = 1_000, server: str = "10.77.10.1", standby: bool = False
) -> Read:
    return Read(at_us, at_us + 500, standby, server, {"rows": 101}, connected_us)


LATER = Read(2_000, 2_500, False, "10.77.10.1", {"rows": 7}, 100)
WAITED = {"rows": {101: CutOff(990, ("10.77.10.1", "10.77.10.2"))}}


@pytest.mark.parametrize(
    ("reads", "is_excused"),
    [
        pytest.param([shown()], True, id="by_a_backend_of_before_just_after_the_cut"),
        pytest.param([shown(at_us=900)], True, id="asked_before_the_cut"),
        pytest.param(
            [shown(), shown(standby=True, server="10.77.10.3", at_us=9_000_000)],
            True,
            id="and_long_by_a_standby",
        ),
        pytest.param([shown(at_us=990 + FLASH_US)], False, id="too_late"),
        pytest.param([shown(connected_us=990)], False, id="by_a_session_of_after_the_cut"),
        pytest.param([shown(connected_us=0)], False, id="by_a_session_of_which_nothing_is_known"),
        pytest.param([shown(server="10.77.10.3")], False, id="by_another_server"),
        pytest.param([shown(), LATER], False, id="by_a_session_that_lived_on"),
        pytest.param([shown(), replace(LATER, connected_at_us=2_000)], True, id="the_reader_connected_anew"),
        pytest.param([shown(), shown(server="10.77.10.3", at_us=1_100)], False, id="by_another_server_too"),
    ],
)
def test_a_row_that_a_dying_server_showed_once_is_told_from_a_loss(
    reads: list[Read], is_excused: bool
) -> None:
    assert flashed([("rows", 101)], reads, WAITED) == ([("rows", 101)] if is_excused else [])


def test_a_row_whose_insert_was_not_cut_off_is_never_excused() -> None:
    assert flashed([("rows", 101)], [shown()], {"rows": {}}) == []
    assert flashed([("rows", 101)], [shown()], {}) == []


def test_the_journal_knows_which_insert_was_cut_off_and_from_whom() -> None:
    def insert(n: int, outcome: str) -> dict[str, object]:
        return {"is": "insert", "n": n, "at": n, "done": n + 5, "outcome": outcome, "in_doubt": True}

    lines = [
        {"is": "connect", "at": 1, "took": 1, "outcome": "ok", "address": "10.77.10.1,10.77.10.2"},
        insert(7, "broken"),
        insert(8, "timeout"),
    ]
    found = read_journal(json.dumps(line) + "\n" for line in lines)
    assert found.cut_off == {7: CutOff(12, ("10.77.10.1", "10.77.10.2"))}


def test_a_half_written_line_is_left_out() -> None:
    known = {"is": "read", "at": 1, "done": 2, "standby": False, "server": "", "seen": {"rows": 3}}
    line = json.dumps({**known, "connected": 1})
    assert read_reads([line + "\n", line[:20]]) == [Read(1, 2, False, "", {"rows": 3}, 1)]


def test_all_tables_are_asked_for_in_one_snapshot() -> None:
    assert question(["x", "y"]).count("SELECT") == 3


def journal(*, without: int = 0) -> Journal:
    lines: list[dict[str, object]] = [{"is": "begin", "at": 0, "period": 10_000}]
    lines += [
        {"is": "insert", "n": row.n, "at": row.sent_us, "done": row.at_us, "outcome": "ack"}
        for row in ROWS
        if not 0 < row.n - 50 <= without
    ]
    return read_journal(json.dumps(line) + "\n" for line in lines)


ALL = {"rows": frozenset(range(1, 101))}


def test_without_a_fault_there_is_nothing_to_complain_about() -> None:
    found = hear({"rows": journal()}, ALL, [answered(1, 0)], [], 500_000)
    assert (found.complaints, found.outage_ms, found.lost) == ((), {"rows": 10.0}, ())


def test_an_outage_is_measured_for_each_writer() -> None:
    found = hear({"rows": journal(without=20)}, ALL, [answered(1, 0)], [], 505_000)
    assert found.outage_ms == {"rows": 210.0}


def test_a_row_that_only_a_dying_server_showed_is_kept_apart_and_no_complaint() -> None:
    found = hear({"rows": replace(journal(), cut_off=WAITED["rows"])}, ALL, [shown()], [], 500_000)
    assert (found.complaints, found.vanished, found.flashed) == ((), (("rows", 101),), (("rows", 101),))


@pytest.mark.parametrize(
    ("present", "reads", "wrote", "said"),
    [
        pytest.param({"rows": ALL["rows"] - {9}}, [answered(1, 0)], [], "lost: rows 9", id="a_planted_loss"),
        pytest.param(ALL, [answered(1, 0)], [Wrote("b", 1, 2, "0/1")], "second writer: b (0/1)", id="two"),
        pytest.param(ALL, [answered(9_000_000, 1)], [], "too old", id="a_stale_read"),
        pytest.param(ALL, [answered(1, 101)], [], "shown and are gone: rows 101", id="a_row_that_vanished"),
        pytest.param(ALL, [], [], "no reader", id="nobody_read"),
    ],
)
def test_a_broken_promise_is_said(
    present: dict[str, frozenset[int]], reads: list[Read], wrote: list[Wrote], said: str
) -> None:
    found = hear({"rows": journal()}, present, reads, wrote, 500_000)
    assert any(said in complaint for complaint in found.complaints), found.complaints
