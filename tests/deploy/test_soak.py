"""The soak: what it draws, how it adds up, and what several faults at once may do to one lab."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from deploy.bench.hearing import Hearing
from deploy.lab.witnesses import MULTIHOST, REFERENCE
from tests.chaos.catalogue import CATALOGUE
from tests.chaos.judging import Observed, Row, judged
from tests.chaos.scenario import Scenario, Then
from tests.chaos.scene import Scene
from tests.soak.draws import Part, Round, When, rounds
from tests.soak.gate import Gate, RoundOver
from tests.soak.page import page
from tests.soak.play import write_json
from tests.soak.table import COLUMNS, cells, table_of
from tests.soak.together import Account
from tests.soak.totals import TOGETHER, Line, Played, Totals


def nothing(scene: Scene) -> None:
    raise AssertionError("only drawn")


def fault(name: str, **more: object) -> Scenario:
    plain = Scenario(name, "", Then.MOVES, 1_500, nothing)
    return replace(plain, **more)  # type: ignore[arg-type]


def drawn(seed: int, count: int, first: int = 1) -> list[Round]:
    return list(itertools.islice(rounds(seed, CATALOGUE, first), count))


# What is drawn


def test_a_seed_draws_the_same_rounds_again_and_another_one_others() -> None:
    assert drawn(7, 50) == drawn(7, 50)
    assert drawn(7, 50) != drawn(8, 50)


def test_any_round_can_be_drawn_again_without_those_before_it() -> None:
    assert drawn(7, 5, first=41) == drawn(7, 45)[40:]


def test_some_rounds_have_two_faults_a_few_have_three_and_most_have_one() -> None:
    counts = Counter(len(one.parts) for one in drawn(1, 2_000))
    assert counts[1] > counts[2] > counts[3] > 50
    assert counts[4] == 0


def test_the_further_faults_come_while_the_first_is_in_force_or_is_being_healed() -> None:
    parts = [part for one in drawn(1, 500) for part in one.parts]
    assert {part.when for part in parts} == set(When)
    assert all(one.parts[0].when is When.FIRST for one in drawn(1, 500))


def test_a_fault_that_leaves_no_legal_outcome_beside_others_is_played_alone() -> None:
    for one in drawn(1, 3_000):
        assert one.is_alone or not any(part.scenario.only_alone for part in one.parts), str(one)
    assert {one.parts[0].scenario.name for one in drawn(1, 3_000)} == {one.name for one in CATALOGUE}


@pytest.mark.parametrize(
    ("faults", "bounded"),
    [
        pytest.param((fault("agent frozen", hurts_the_guard=True),), True, id="alone"),
        pytest.param((fault("agent frozen", hurts_the_guard=True), fault("x")), True, id="one_of_the_two"),
        pytest.param(
            (fault("agent frozen", hurts_the_guard=True), fault("guard killed", hurts_the_guard=True)),
            False,
            id="agent_and_guard",
        ),
        pytest.param(
            (fault("agent and guard killed", hurts_the_guard=True), fault("x")), False, id="both_in_one"
        ),
    ],
)
def test_reads_are_bounded_unless_agent_and_guard_are_hurt_at_once(
    faults: tuple[Scenario, ...], bounded: bool
) -> None:
    parts = tuple(Part(one, When.FIRST if at == 0 else When.IN_FORCE, 0.0) for at, one in enumerate(faults))
    assert Round(1, parts).bounds_stale_reads is bounded


def test_what_is_due_is_the_sum_of_the_bounds_and_the_time_without_a_quorum() -> None:
    endless = fault("endless", outage_ms_max=None)
    parts = (Part(fault("a"), When.FIRST, 0.0), Part(endless, When.IN_FORCE, 1.0))
    account = Account(took_s={0: 9.0, 1: 4.0}, no_quorum_s=2.5)
    assert account.due_ms(parts) == 1_500 + 4_000 + 2_500


# How it adds up

HEARD = Hearing(
    outage_ms={REFERENCE: 400.0, MULTIHOST: 500.0},
    reconnects={REFERENCE: 1, MULTIHOST: 1},
    acknowledged_count=1000,
    lost=(),
    in_doubt_visible_count=0,
    second_writes=(),
    oldest_read_ms=0.0,
    stale_read_count=0,
    vanished=(),
    flashed=(),
    complaints=(),
)


def row(name: str = "a", outage_ms: float | None = 400.0, *, lost: int = 0, moved: bool = True) -> Row:
    outages = {REFERENCE: outage_ms, MULTIHOST: outage_ms}
    rows = tuple((REFERENCE, n) for n in range(lost))
    said = ("rows are lost",) if lost else ()
    hearing = replace(HEARD, outage_ms=outages, lost=rows, complaints=said)
    return judged(fault(name), Observed(1, 2 if moved else 1, "a", "b", hearing, 1.0, "", ""))


def totals() -> Totals:
    return Totals(7, "abc", "2026-01-01T00:00:00+00:00")


def test_a_fault_has_the_median_and_the_maximum_of_its_outages_and_counts_late_and_wrong_apart() -> None:
    found = totals()
    for number, one in enumerate((row(outage_ms=100.0), row(outage_ms=300.0), row(outage_ms=1_600.0))):
        found.add(Played(number, ("a",), one))
    found.add(Played(4, ("a",), row(moved=False, outage_ms=9_000.0)))
    line = found.lines["a"]
    assert (line.count, line.median_ms, line.max_ms, line.late, line.wrong) == (4, 950, 9_000, 1, 1)
    assert (found.wrong, found.late, found.acknowledged) == (1, 1, 4_000)


def test_several_faults_at_once_are_a_line_of_their_own_and_each_says_how_often_it_was_there() -> None:
    found = totals()
    found.add(Played(1, ("a", "b"), row("a + b", lost=2), due_ms=10_000, no_quorum_s=1.5))
    assert found.lines[TOGETHER] == Line(count=1, outages_ms=[400], lost_rows=2, wrong=1)
    assert [found.lines[name].together_count for name in "ab"] == [1, 1]
    assert (found.lines["a"].count, found.no_quorum_s, found.beyond_due) == (0, 1.5, 0)


def test_an_outage_beyond_what_was_due_is_stated_and_is_not_wrong() -> None:
    found = totals()
    found.add(Played(3, ("a", "b"), row("a + b", 1_200.0), due_ms=1_000.0))
    assert (found.beyond_due, found.wrong) == (1, 0)
    assert found.remarks == ["round 3: 1200 ms, 1000 ms were due: a + b"]


def test_a_row_that_was_lost_later_is_wrong_too() -> None:
    found = totals()
    found.lost_later = 3
    assert found.wrong == 1
    assert cells("all rounds", Line(lost_rows=3))[5] == "3"


def test_the_table_has_a_cell_for_each_column_and_a_line_for_all_rounds(tmp_path: Path) -> None:
    found = totals()
    found.add(Played(1, ("a",), row()))
    found.add(Played(2, ("a", "b"), row("a + b")))
    assert len(cells("a", found.lines["a"])) == len(COLUMNS) == len(table_of(found).columns)


def test_what_was_counted_is_written_whole_and_says_whether_it_ended(tmp_path: Path) -> None:
    found, file = totals(), tmp_path / "soak.json"
    found.add(Played(1, ("a",), row()))
    write_json(file, found)
    read = json.loads(file.read_text())
    assert (read["schema"], read["seed"], read["rounds"], read["ended"]) == (1, 7, 1, "")
    assert read["lines"]["a"] == {
        "count": 1, "together_count": 0, "median_ms": 400, "max_ms": 400, "lost_rows": 0,
        "second_writers": 0, "late": 0, "wrong": 0,
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == [file]


# The gate


@dataclass
class Slow:
    inside: int = 0
    most_inside: int = 0
    names: list[str] = field(default_factory=list)

    def work(self, name: str) -> None:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        time.sleep(0.02)
        self.names.append(name)
        self.inside -= 1


def test_calls_come_one_after_the_other_and_none_after_the_gate_is_closed() -> None:
    gate, slow = Gate(), Slow()
    shared = gate.around(slow)
    threads = [threading.Thread(target=shared.work, args=(str(at),)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gate.close()
    with pytest.raises(RoundOver):
        shared.work("late")
    assert (slow.most_inside, sorted(slow.names)) == (1, ["0", "1", "2", "3"])


def test_who_waits_is_told_at_once_that_the_round_is_over() -> None:
    gate = Gate()
    threading.Timer(0.05, gate.close).start()
    began = time.monotonic()
    with pytest.raises(RoundOver):
        gate.pause(30.0)
    assert time.monotonic() - began < 5.0


def test_the_page_of_a_soak_has_a_row_for_each_fault_and_the_sums() -> None:
    line = {"median_ms": 12.4, "max_ms": 20.0, "count": 2, "together_count": 1, "lost_rows": 0, "second_writers": 0,
            "late": 1, "wrong": 0}  # fmt: skip
    soak = {
        "began": "2026", "commit": "abc", "seed": 7, "rounds": 3, "took_s": 7_200, "fleets": 1, "acknowledged": 9,
        "lost_later": 2, "beyond_due": 0, "no_quorum_s": 1.5, "ended": "", "remarks": ["round 2: late"],
        "lines": {TOGETHER: line, "host lost": {**line, "median_ms": None, "max_ms": None}},
    }  # fmt: skip
    told = page(soak, "x-soak.json")
    rows = [row for row in told.splitlines() if row.startswith("| ")]
    assert rows[2:] == [
        "| host lost | 2 | 1 |  |  | 0 | 0 | 1 | 0 |",
        f"| {TOGETHER} | 2 | 1 | 12 | 20 | 0 | 0 | 1 | 0 |",
        "| all rounds | 3 | 2 |  |  | 2 | 0 | 2 | 0 |",
    ]
    assert (
        "3 rounds in 2.00 h on 1 fleets; 9 writes acknowledged, 2 lost, 0 by a second writer; 0 rounds wrong, 2 late"
        in told
    )
    assert "- round 2: late" in told
