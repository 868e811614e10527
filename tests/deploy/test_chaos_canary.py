"""The canary against the witness: what the lab makes of two accounts of one outage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deploy.bench.verdict import Acknowledged, Connect, Journal, Outage, outage_around
from tests.chaos.canary import WITHIN_MS, Said, Seen, apart_ms, bounds_ms, bounds_of_all_ms, newest_said
from tests.chaos.judging import WRONG_FROM_MS, judged
from tests.deploy.test_chaos import MOVED, MOVES

MS = 1_000


def _rows(*acknowledged_at_ms: range) -> tuple[Acknowledged, ...]:
    times_us = [at_ms * MS for times_ms in acknowledged_at_ms for at_ms in times_ms]
    return tuple(Acknowledged(n, at_us - MS, at_us) for n, at_us in enumerate(times_us))


def journal(*, connects: tuple[Connect, ...] = (), failed_at_us: tuple[int, ...] = ()) -> Journal:
    """Acknowledged every 10 ms, but from 1,000 to 1,800 ms."""
    rows = _rows(range(0, 1_001, 10), range(1_800, 2_000, 10))
    return Journal(
        0, 2_000 * MS, 10 * MS, rows, frozenset(), frozenset(), frozenset(), connects, failed_at_us
    )


def seen(found: Journal) -> Seen:
    return bounds_ms(found, outage_around(found, 1_005 * MS))


def test_the_client_s_gap_has_a_least_length_up_to_its_last_failed_attempt() -> None:
    connects = tuple(
        Connect(at * MS, 200 * MS, outcome, "10.77.3.1")
        for at, outcome in ((400, "timeout"), (1_100, "timeout"), (1_560, "timeout"), (1_780, "ok"))
    )
    assert seen(journal(connects=connects)) == Seen(560, 800)
    assert seen(journal(connects=connects, failed_at_us=(1_700 * MS,))) == Seen(700, 800)
    assert seen(journal()) == Seen(0, 800)


def test_several_clients_on_one_way_bound_it_together() -> None:
    first = journal(connects=(Connect(1_560 * MS, 200 * MS, "timeout", "10.77.3.1"),))
    # Of 100 ms, acknowledged at 900 ms and 1,880 ms; its last attempt that failed began at 1,500 ms.
    slow = replace(
        first, acknowledged=_rows(range(0, 901, 100), range(1_880, 2_000, 100)), failed_at_us=(1_500 * MS,)
    )
    assert bounds_of_all_ms([first, replace(slow, connects=())], 1_005 * MS) == Seen(500, 880)
    of_another = replace(slow, acknowledged=_rows(range(0, 1_801, 100), range(1_950, 2_000, 10)))
    assert bounds_of_all_ms([first, of_another], 1_005 * MS) == Seen(560, 800)
    endless = replace(slow, acknowledged=_rows(range(0, 901, 100)))
    assert bounds_of_all_ms([first, endless], 1_005 * MS) == Seen(560, 800)
    with pytest.raises(ValueError, match="never ended"):
        bounds_of_all_ms([endless, first], 1_005 * MS)


def test_an_outage_without_an_end_has_no_length() -> None:
    with pytest.raises(ValueError, match="never ended"):
        bounds_ms(journal(), Outage(1_000 * MS, None))


@pytest.mark.parametrize(
    ("said", "apart"),
    [
        pytest.param(Said(700, 20, at_least=False), 0, id="between_the_two"),
        pytest.param(Said(549, 20, at_least=False), 11, id="shorter_than_the_least"),
        pytest.param(Said(549, 20, at_least=True), 0, id="a_part_may_be_shorter"),
        pytest.param(Said(860, 20, at_least=False), 60, id="longer_than_the_most"),
        pytest.param(Said(860, 70, at_least=False), 10, id="longer_and_it_says_for_how_long_it_was_blind"),
        pytest.param(Said(500, 70, at_least=False), 10, id="shorter_and_it_says_for_how_long_it_was_blind"),
        pytest.param(Said(860, 20, at_least=True), 60, id="not_even_a_part_may_be_longer"),
    ],
)
def test_the_canary_contradicts_the_witness_by_what_lies_outside(said: Said, apart: float) -> None:
    assert apart_ms(said, Seen(560, 800)) == apart


def incident(epoch: int, outage_ms: int | None, **more: Any) -> dict[str, Any]:
    known = {"outage_by": "canary", "outage_at_least": False, "uncertainty_ms": 20, "canary_part_ms": None}
    return {"epoch": epoch, "outage_ms": outage_ms, **known, **more}


def test_the_longest_of_the_incidents_since_is_what_was_said() -> None:
    incidents = [incident(9, 300), incident(8, 1_200), incident(7, 5_000)]
    assert newest_said(incidents, 7) == Said(1_200, 20, at_least=False)
    assert newest_said(incidents, 9) is None
    assert newest_said([incident(8, 1_130, outage_by="probes")], 7) is None
    part = incident(8, 4_900, outage_by="probes", canary_part_ms=1_900)
    assert newest_said([part], 7) == Said(1_900, 0, at_least=True)


@pytest.mark.parametrize(
    ("outage_ms", "late", "wrong"),
    [
        pytest.param(800 + WITHIN_MS, False, False, id="within_the_bound"),
        pytest.param(801 + WITHIN_MS, True, False, id="beyond_it"),
        pytest.param(800 + WRONG_FROM_MS, True, False, id="still_maybe_the_machine"),
        pytest.param(801 + WRONG_FROM_MS, False, True, id="something_else_was_measured"),
    ],
)
def test_a_canary_that_is_apart_is_late_or_wrong(outage_ms: int, late: bool, wrong: bool) -> None:
    moved = replace(MOVED, canary=Said(outage_ms, 20, at_least=False), witness=Seen(560, 800))
    row = judged(MOVES, moved)
    assert (bool(row.late), bool(row.complaints)) == (late, wrong)
    assert judged(MOVES, moved, timed=False).late == ()


def test_a_failover_of_which_the_canary_says_nothing_is_wrong() -> None:
    row = judged(MOVES, replace(MOVED, witness=Seen(560, 800)))
    assert row.complaints == ("no incident has the outage as the canary saw it",)
    assert judged(MOVES, replace(MOVED, witness=Seen(560, 800), led_throughout=False)).passed
