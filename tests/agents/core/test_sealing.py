"""The order of a standby's steps when it seals (R1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from agents.core import steps
from agents.core.recipes import begin
from agents.core.state import NOWHERE, AgentState, first_state
from common.assignment import Assignment, Position, Seal, Version
from common.facts import PostgresState, SealReport
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import Lsn
from common.profile import DEFAULT
from common.rule import FENCE, SOLO

_OURS = IncarnationId("00000000000000aa")
_ORDER = Assignment(ClusterName("c1"), MemberName("b"), _OURS, 1, Version(4, 20), "77", Seal())
_STATE = AgentState(_ORDER.cluster, _ORDER.member, _OURS, "77", _ORDER.version, _ORDER, sealed_epoch=4)
_STREAMING = steps.Sight(
    PostgresState.STANDBY, "77", settings_rule=FENCE, settings_upstream="b.1@3", timeline=3
)

_END = steps.EndOfWal(3, Lsn(900), Lsn(900), None)


def _performed(
    state: AgentState,
    sight: steps.Sight,
    *,
    saw_crash: bool = False,
    end: steps.EndOfWal = _END,
) -> tuple[list[steps.Step], AgentState]:
    recipe, done, outcome = begin(state, DEFAULT), list[steps.Step](), None
    while True:
        try:
            step = recipe.send(outcome)
        except StopIteration:
            return done, state
        if not isinstance(step, steps.SeeCrash):  # nothing is done for it
            done.append(step)
        answers: Mapping[type, Any] = {
            steps.SeeCrash: saw_crash,
            steps.Look: sight,
            steps.MeasureEnd: end,
            steps.StopPostgres: steps.StopOutcome(clean=False),
        }
        outcome = answers.get(type(step))
        if isinstance(step, steps.Store):
            changed: dict[str, Any] = dict(step.changes)
            state = outcome = replace(state, **changed)


def _kinds(done: list[steps.Step]) -> list[str]:
    return [type(step).__name__ for step in done]


def test_settings_are_withdrawn_then_receivers_ended_then_the_end_is_measured_then_reported() -> None:
    done, state = _performed(_STATE, _STREAMING)
    assert _kinds(done) == ["Look", "WriteSettings", "EndReceivers", "MeasureEnd", "Store"]
    assert done[1] == steps.WriteSettings(FENCE)
    assert state.seal == SealReport(4, _OURS, 3, Lsn(900), Lsn(900))


def test_a_primary_seals_by_stopping() -> None:
    done, state = _performed(_STATE, replace(_STREAMING, postgres=PostgresState.PRIMARY))
    assert _kinds(done)[:2] == ["Look", "StopPostgres"]
    assert state.seal is not None
    assert state.seal.was_primary


@pytest.mark.parametrize(
    ("state_of_postgres", "saw_crash", "drain", "first"),
    [
        pytest.param(PostgresState.STOPPED, True, False, ["Pause", "Look"], id="its_crash_was_seen"),
        pytest.param(PostgresState.DYING, True, False, ["Pause", "Look"], id="whatever_is_left_of_it"),
        pytest.param(PostgresState.STOPPED, False, False, ["Look", "Pause"], id="nobody_saw_it"),
        pytest.param(PostgresState.STOPPED, True, True, ["Look", "StopPostgres"], id="a_switchover_waits"),
        pytest.param(PostgresState.DYING, False, False, ["Look", "StopPostgres"], id="it_is_told_to_end"),
        pytest.param(PostgresState.PRIMARY, False, False, ["Look", "StopPostgres"], id="one_that_runs"),
    ],
)
def test_a_primary_that_has_crashed_lets_its_standbys_seal_first(
    state_of_postgres: PostgresState, saw_crash: bool, drain: bool, first: list[str]
) -> None:
    """Its seal is wanted only where theirs don't do (R2); so is its look, through all processes of the host."""
    state = replace(_STATE, assignment=replace(_ORDER, order=Seal(drain=drain)))
    sight = replace(_STREAMING, postgres=state_of_postgres, was_primary=True)
    done, sealed = _performed(state, sight, saw_crash=saw_crash)
    assert _kinds(done)[:2] == first
    assert _kinds(done).count("Pause") == first.count("Pause")
    assert sealed.seal is not None
    assert sealed.seal.was_primary


def test_a_primary_that_served_alone_seals_at_once_for_nobody_else_knows_its_end() -> None:
    state = replace(_STATE, serving_rule=SOLO)
    stopped = replace(_STREAMING, postgres=PostgresState.STOPPED, was_primary=True)
    done, _ = _performed(state, stopped, saw_crash=True)
    assert _kinds(done)[:2] == ["Look", "StopPostgres"]


def test_a_member_that_was_told_to_promote_seals_by_stopping_whatever_it_looks_like() -> None:
    done, _ = _performed(replace(_STATE, promotion_signalled=True), _STREAMING)
    assert "StopPostgres" in _kinds(done)


def test_an_agent_that_lost_its_state_can_t_know_what_its_postgresql_was_told_and_stops_it_to_seal() -> None:
    """A promotion that was signalled before goes on by itself, after the seal, on a timeline of somebody else's."""
    new = first_state(_ORDER.cluster, _ORDER.member, _OURS)
    state = replace(new, system_identifier="77", obeyed=_ORDER.version, assignment=_ORDER, sealed_epoch=4)
    done, sealed = _performed(state, _STREAMING)
    assert "StopPostgres" in _kinds(done)
    assert not sealed.promotion_signalled


@pytest.mark.parametrize(
    ("postgres", "was_primary", "is_stopped"),
    [
        (PostgresState.PRIMARY, True, True),
        (PostgresState.STARTING, True, True),
        (PostgresState.STARTING, False, False),
        (PostgresState.STANDBY, False, False),
        (PostgresState.STOPPED, True, False),
    ],
)
def test_a_primary_that_somebody_else_started_while_it_is_sealed_is_stopped_again(
    postgres: PostgresState, was_primary: bool, is_stopped: bool
) -> None:
    sealed = replace(_STATE, seal=SealReport(4, _OURS, 3, Lsn(900), Lsn(900)))
    sight = replace(_STREAMING, postgres=postgres, was_primary=was_primary, settings_upstream="")
    done, state = _performed(sealed, sight)
    assert ("StopPostgres" in _kinds(done)) is is_stopped
    assert state.seal == sealed.seal  # what was reported stands


def test_a_seal_that_was_reported_is_not_measured_again() -> None:
    sealed = replace(_STATE, seal=SealReport(4, _OURS, 3, Lsn(900), Lsn(900)))
    done, state = _performed(sealed, replace(_STREAMING, settings_upstream=""), saw_crash=True)
    assert _kinds(done) == ["Look"]
    assert state == sealed


def test_a_report_of_another_epoch_is_no_seal_of_this_one() -> None:
    """It was finished while the next epoch's order was being stored: the member must seal once more."""
    crossed = replace(_STATE, seal=SealReport(3, _OURS, 3, Lsn(900), Lsn(900)))
    _, state = _performed(crossed, _STREAMING)
    assert state.seal is not None
    assert state.seal.epoch == 4


@pytest.mark.covers("T25")
def test_a_member_whose_rebuild_was_cut_short_does_not_seal() -> None:
    done, state = _performed(replace(_STATE, rebuilding="clone"), _STREAMING)
    assert _kinds(done) == ["Tell"]
    assert state.seal is None


def test_what_an_earlier_seal_found_missing_is_missing_for_this_one_too() -> None:
    """PostgreSQL was started again since, and tells nothing of it (R1)."""
    _, state = _performed(replace(_STATE, missing_below_lsn=Lsn(1_000)), _STREAMING)
    assert state.seal is not None
    assert (state.seal.damaged, state.seal.flushed_lsn) == (True, Lsn(1_000))


def test_a_log_that_ends_below_an_earlier_seal_is_damaged_whatever_postgresql_knows() -> None:
    """Seed 9703968: a receiver had begun again where the disk was damaged, and PostgreSQL told of no more than that."""
    _, state = _performed(replace(_STATE, sealed_at=Position(3, Lsn(1_000))), _STREAMING)
    assert state.seal is not None
    assert (state.seal.damaged, state.seal.flushed_lsn) == (True, Lsn(1_000))
    assert (state.missing_below_lsn, state.sealed_at) == (Lsn(1_000), Position(3, Lsn(1_000)))


def test_a_seal_is_remembered_when_the_next_epoch_forgets_its_report() -> None:
    _, state = _performed(replace(_STATE, sealed_at=Position(3, Lsn(800))), _STREAMING)
    assert state.seal is not None
    assert (state.seal.damaged, state.sealed_at) == (False, Position(3, Lsn(900)))


def test_bytes_that_look_like_a_torn_record_are_no_excuse_below_an_earlier_seal() -> None:
    """What a seal reported was the end of a record, so none crosses it."""
    end = steps.EndOfWal(3, Lsn(900), Lsn(900), next_record_would_end_lsn=Lsn(5_000))
    _, state = _performed(replace(_STATE, sealed_at=Position(3, Lsn(1_000))), _STREAMING, end=end)
    assert state.seal is not None
    assert state.seal.damaged


@pytest.mark.parametrize(
    ("sealed_at", "flushed", "counts_as"),
    [
        pytest.param(Position(3, Lsn(1_000)), None, Position(3, Lsn(1_000)), id="known_by_an_earlier_seal"),
        pytest.param(NOWHERE, Lsn(1_000), Position(3, Lsn(1_000)), id="known_by_postgresql"),
    ],
)
def test_a_damaged_member_counts_on_the_timeline_that_it_had_flushed_and_not_on_what_is_left(
    sealed_at: Position, flushed: Lsn | None, counts_as: Position
) -> None:
    """Its log can be read up to a place before the last fork. On the timeline of before, it would lower the bound (R3 a)."""
    end = steps.EndOfWal(2, Lsn(700), flushed, None)
    _, state = _performed(replace(_STATE, sealed_at=sealed_at), _STREAMING, end=end)
    assert state.seal is not None
    assert (state.seal.damaged, state.seal.position) == (True, counts_as)
    assert state.sealed_at == counts_as  # and again in the next epoch, when PostgreSQL may know of neither
