"""The catalogue of faults, and the verdict on one: it must see what it is there to see."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from deploy.bench.hearing import Hearing
from deploy.lab.witnesses import MULTIHOST, REFERENCE
from orchestrator.core.diagnose import Diagnosis
from tests.chaos.catalogue import CATALOGUE, chosen
from tests.chaos.judging import Observed, judged
from tests.chaos.page import PAGE, page
from tests.chaos.scenario import Scenario, Then
from tests.chaos.scene import Scene
from tests.chaos.table import COLUMNS, cells, document, markdown, verdict


def nothing(scene: Scene) -> None:
    raise AssertionError("a verdict plays nothing")


MOVES = Scenario(
    "it breaks",
    "a standby is promoted",
    Then.MOVES,
    1_500,
    nothing,
    (Diagnosis.CRASHED,),
    history=("PrimaryCrashed",),
)
STAYS = Scenario("it is late", "nobody notices", Then.STAYS, 300, nothing)
HEARD = Hearing(
    outage_ms={REFERENCE: 400.0, MULTIHOST: 500.0},
    reconnects={REFERENCE: 1, MULTIHOST: 1},
    acknowledged_count=1000,
    lost=(),
    in_doubt_visible_count=1,
    second_writes=(),
    oldest_read_ms=0.0,
    stale_read_count=0,
    vanished=(),
    flashed=(),
    complaints=(),
)
MOVED = Observed(1, 2, "a", "b", HEARD, 3.0, "epoch 2: PrimaryCrashed: a", "")
STAYED = replace(
    MOVED,
    epoch_after=1,
    primary_after="a",
    history_text="",
    hearing=replace(
        HEARD, outage_ms={REFERENCE: 30.0, MULTIHOST: 40.0}, reconnects={REFERENCE: 0, MULTIHOST: 0}
    ),
)


def test_what_must_be_is_good() -> None:
    assert judged(MOVES, MOVED).passed
    assert judged(STAYS, STAYED).passed


@pytest.mark.parametrize(
    ("scenario", "seen", "said"),
    [
        pytest.param(MOVES, STAYED, "no failover", id="nobody_took_over"),
        pytest.param(STAYS, replace(STAYED, epoch_after=2), "failed over: epoch 1 to 2", id="a_false_alarm"),
        pytest.param(MOVES, replace(MOVED, whole_after_s=None), "not whole again", id="never_whole"),
        pytest.param(
            MOVES, replace(MOVED, history_text=""), "does not say 'PrimaryCrashed'", id="unexplained"
        ),
        pytest.param(MOVES, replace(MOVED, failed="not within 5 s"), "not within 5 s", id="it_did_not_come"),
        pytest.param(MOVES, replace(MOVED, notes=("2 RST",)), "2 RST", id="the_fault_was_not_what_it_says"),
        pytest.param(
            MOVES,
            replace(MOVED, hearing=replace(HEARD, complaints=("1 acknowledged rows are lost",))),
            "lost",
            id="a_witness_complains",
        ),
        pytest.param(
            MOVES,
            replace(MOVED, hearing=replace(HEARD, outage_ms={REFERENCE: 1_501.0, MULTIHOST: 1.0})),
            "1501 ms without a write, at most 1500 ms",
            id="beyond_the_bound",
        ),
        pytest.param(
            MOVES,
            replace(MOVED, hearing=replace(HEARD, outage_ms={REFERENCE: None, MULTIHOST: 1.0})),
            "never ended",
            id="without_end",
        ),
        pytest.param(
            STAYS,
            replace(STAYED, hearing=replace(HEARD, outage_ms={REFERENCE: 9.0, MULTIHOST: 9.0})),
            "had to connect anew",
            id="a_reconnect_is_an_interruption",
        ),
        pytest.param(
            replace(MOVES, never_said=("disk",)),
            replace(MOVED, status_text="its disk is full"),
            "it was said 'disk'",
            id="a_word_that_must_not_be",
        ),
        pytest.param(
            MOVES,
            replace(MOVED, status_text="STABLE PrimaryHostLost"),
            "it was said PrimaryHostLost, which it was not",
            id="a_wrong_name_beside_the_right_one",
        ),
        pytest.param(
            replace(MOVES, history=()),
            replace(MOVED, history_text=""),
            "the history did not say PrimaryCrashed",
            id="no_name_at_all",
        ),
        pytest.param(
            replace(MOVES, history=()),
            replace(MOVED, history_text="", status_text="STABLE PrimaryCrashed"),
            "the history did not say PrimaryCrashed",
            id="a_status_alone_where_the_primary_moved",
        ),
        pytest.param(
            replace(STAYS, diagnosed=(Diagnosis.AGENT_LOST,)),
            STAYED,
            "nobody said AgentLost",
            id="no_name_where_the_primary_stays",
        ),
        pytest.param(
            STAYS,
            replace(STAYED, status_text="STABLE AgentLost"),
            "it was said AgentLost, which it was not",
            id="a_name_where_nothing_is_wrong",
        ),
        pytest.param(replace(MOVES, status=("AgentLost",)), MOVED, "no status said", id="not_shown"),
    ],
)
def test_what_is_wrong_is_said(scenario: Scenario, seen: Observed, said: str) -> None:
    row = judged(scenario, seen)
    assert not row.passed
    assert any(said in complaint for complaint in (*row.complaints, *row.late)), row


def test_what_is_said_in_passing_is_not_wrong() -> None:
    passing = "STABLE Healthy\nSTABLE PrimarySuspected\nSTABLE QuorumAtRisk"
    assert judged(MOVES, replace(MOVED, status_text=passing)).passed
    assert judged(STAYS, replace(STAYED, status_text=passing)).passed


def test_what_may_be_said_as_well_need_not_be_said() -> None:
    scenario = replace(STAYS, also_diagnosed=(Diagnosis.AGENT_LOST,))
    assert judged(scenario, STAYED).passed
    assert judged(scenario, replace(STAYED, status_text="STABLE AgentLost")).passed


def test_several_faults_at_once_are_not_judged_by_their_words() -> None:
    scenario = replace(MOVES, is_explained=False)
    assert judged(scenario, replace(MOVED, history_text="", status_text="STABLE PrimaryDiskFull")).passed


def test_on_a_busy_machine_bounds_can_be_left_out_and_nothing_else() -> None:
    late = replace(MOVED, hearing=replace(HEARD, outage_ms={REFERENCE: 9e9, MULTIHOST: 9e9}))
    assert judged(MOVES, late, timed=False).passed
    assert not judged(MOVES, replace(late, whole_after_s=None), timed=False).passed


def test_late_is_told_apart_from_wrong() -> None:
    late = replace(MOVED, hearing=replace(HEARD, outage_ms={REFERENCE: 1_501.0, MULTIHOST: 1.0}))
    assert [verdict(judged(MOVES, seen)) for seen in (MOVED, late, STAYED)] == ["good", "late", "WRONG"]


def test_at_the_bound_is_good() -> None:
    at = replace(MOVED, hearing=replace(HEARD, outage_ms={REFERENCE: 1_500.0, MULTIHOST: 6_500.0}))
    assert judged(MOVES, at).passed


def test_names_are_there_once_and_the_patterns_are_patterns() -> None:
    names = [scenario.name for scenario in CATALOGUE]
    assert len(set(names)) == len(names) >= 40
    for scenario in CATALOGUE:
        for pattern in (*scenario.history, *scenario.status, *scenario.never_said):
            re.compile(pattern)


def test_a_fault_is_chosen_by_its_whole_name_or_by_words_of_it() -> None:
    assert [scenario.name for scenario in chosen(["host lost"])] == ["host lost"]
    assert len(chosen(["etcd"])) > 3
    assert chosen([]) == CATALOGUE
    with pytest.raises(LookupError, match="no fault is called 'meteor'"):
        chosen(["meteor"])


def test_the_table_has_a_cell_for_each_column() -> None:
    row = judged(MOVES, STAYED)
    assert len(cells(row)) == len(COLUMNS)
    assert markdown([row]).count("\n") == 3
    found = document([row], seed=7, commit="x", began="2026-12-01T10:00:00+00:00", took_s=9.0)
    assert found["rows"][0]["complaints"]


def test_the_page_is_made_from_the_catalogue() -> None:
    assert PAGE.read_text() == page(), "python -m tests.chaos.page --write"
