"""What people are shown of a cluster."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from common.facts import PostgresState
from common.ids import MemberName
from common.lsn import Lsn
from orchestrator.core.describe import describe
from orchestrator.core.record import Phase
from tests.core.builders import CLUSTER, NOW, any_of, heard, record, view


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        pytest.param(Phase.STABLE, "superseded", id="another_one_is_the_primary"),
        pytest.param(Phase.PROMOTING, "serving", id="nobody_else_is_yet"),
    ],
)
def test_an_old_primary_is_not_shown_as_serving_beside_the_new_one(phase: Phase, expected: str) -> None:
    """As it last said: it may be lost or cut off, and is silent for people only a second later."""
    new = MemberName("b" if phase is Phase.STABLE else "a")
    now = record(phase=phase, primary=new, candidate=None if phase is Phase.STABLE else MemberName("b"))
    old = heard("a", ms_ago=900, postgres=PostgresState.PRIMARY, open=True)
    seen = view(old, heard("b", postgres=PostgresState.PRIMARY, open=True), heard("c"), of=now)
    states = {str(line.name): line.state for line in describe(CLUSTER, seen, NOW).members}
    assert states["a"] == expected


@pytest.mark.parametrize(
    ("paused", "expected"),
    [
        pytest.param(True, "its replay is paused", id="paused"),
        pytest.param(False, "", id="it_goes_on"),
    ],
)
def test_a_standby_whose_replay_is_paused_says_so_and_how_it_ends(paused: bool, expected: str) -> None:
    """It can't follow into a new timeline, and would be shown as attaching for ever with no word on why."""
    primary = heard("a", postgres=PostgresState.PRIMARY, open=True)
    seen = view(primary, heard("b", replay_paused=paused), heard("c"))
    lines = {str(line.name): line for line in describe(CLUSTER, seen, NOW).members}
    assert lines["b"].state == "attaching"
    assert lines["b"].error.startswith(expected)
    assert ("pg_wal_replay_resume()" in lines["b"].error) is paused
    assert lines["c"].error == ""


def test_a_paused_replay_does_not_hide_what_went_wrong() -> None:
    seen = view(heard("a", postgres=PostgresState.PRIMARY), heard("b", replay_paused=True, error="no route"))
    line = next(line for line in describe(CLUSTER, seen, NOW).members if line.name == "b")
    assert line.error.startswith("no route; its replay is paused")


@pytest.mark.parametrize(("free_mib", "expected"), [(15, "its disk is full: 15 MiB are free"), (16, "")])
def test_a_member_whose_disk_is_full_says_so_whoever_it_is(free_mib: int, expected: str) -> None:
    """A full standby is no diagnosis of the primary: it would only be seen as one that does not stream."""
    seen = view(heard("a", postgres=PostgresState.PRIMARY), heard("b", free_mib=free_mib), heard("c"))
    assert next(line for line in describe(CLUSTER, seen, NOW).members if line.name == "b").error == expected


def test_a_leader_that_has_not_read_the_record_yet_does_not_say_that_there_is_none() -> None:
    leading = replace(view(heard("a"), heard("b"), heard("c")), record=None, record_known=False)
    assert describe(CLUSTER, leading, NOW).diagnosis == "WarmingUp"
    assert describe(CLUSTER, replace(leading, record_known=True), NOW).diagnosis == "NoRecord"


@pytest.mark.parametrize(
    ("voters", "expected"),
    [
        pytest.param(
            "c", "it needs WAL from 0/3E8 on, and a has it from 0/7D0 on alone", id="nobody_counts_it"
        ),
        pytest.param(
            "bc",
            "it needs WAL from 0/3E8 on, and a has it from 0/7D0 on alone; it is not cloned while a rule names it",
            id="a_rule_names_it",
        ),
    ],
)
def test_a_standby_that_needs_wal_which_was_removed_says_so(voters: str, expected: str) -> None:
    """PostgreSQL says it in its log alone, and it would be shown as attaching for ever."""
    primary = heard("a", postgres=PostgresState.PRIMARY, oldest_lsn=Lsn(2_000))
    seen = view(primary, heard("b", end=1_000), heard("c", end=2_000), of=record(rules=(any_of(1, *voters),)))
    lines = {str(line.name): line for line in describe(CLUSTER, seen, NOW).members}
    assert lines["b"].error == expected
    assert lines["c"].error == ""
