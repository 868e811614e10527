"""Who may be attached as it is, and who is another by then (R9, R13)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from agents.core import steps
from agents.core.recipes import begin
from agents.core.state import NOWHERE, AgentState, FlushedMark
from common.assignment import Assignment, Follow, HistoryStep, Position, Rebuild, Upstream, Version
from common.facts import PostgresState, SealReport
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import Lsn
from common.profile import DEFAULT

_OURS, _NEXT = IncarnationId("00000000000000aa"), IncarnationId("00000000000000bb")
_FOLLOW = Follow(Upstream(MemberName("b"), "10.0.0.2", 5432), 4, (HistoryStep(3, Lsn(900)),))
_ORDER = Assignment(ClusterName("c1"), MemberName("a"), _OURS, 1, Version(5, 50), "77", _FOLLOW)
_FORMER_PRIMARY = AgentState(
    _ORDER.cluster, _ORDER.member, _OURS, "77", _ORDER.version, _ORDER,
    serving_epoch=4, flushed_mark=FlushedMark(4, Lsn(900)),
)  # fmt: skip
_STOPPED = steps.Sight(PostgresState.STOPPED, "77", timeline=3, was_primary=True)


_RUNNING = steps.Sight(PostgresState.STANDBY, "77", timeline=3)


def _performed(
    state: AgentState,
    end: steps.EndOfWal,
    sight: steps.Sight = _STOPPED,
    histories: tuple[steps.HistoryFile, ...] = (),
) -> tuple[list[str], AgentState]:
    recipe, done = begin(state, DEFAULT), list[str]()
    outcome: object = None
    while True:
        try:
            step = recipe.send(outcome)
        except StopIteration:
            return done, state
        done.append(type(step).__name__)
        answers: dict[type, object] = {
            steps.Look: sight,
            steps.MeasureEnd: end,
            steps.StopPostgres: steps.StopOutcome(clean=False),
            steps.DrawIncarnation: _NEXT,
            steps.ListHistories: histories,
        }
        outcome = answers.get(type(step))
        if isinstance(step, steps.Store):
            changed: dict[str, Any] = dict(step.changes)
            state = outcome = replace(state, **changed)


def test_a_former_primary_whose_log_is_whole_is_attached_as_it_is() -> None:
    done, state = _performed(_FORMER_PRIMARY, steps.EndOfWal(3, Lsn(900), None, None))
    assert "StartStandby" in done
    assert state.incarnation == _OURS


@pytest.mark.parametrize(
    ("order", "begins_with"),
    [
        pytest.param(
            replace(_FOLLOW, awaited=False),
            ["Pause", "Look", "Pause", "StopPostgres"],
            id="nobody_waits_for_it",
        ),
        pytest.param(_FOLLOW, ["Look", "StopPostgres", "WriteSettings"], id="commits_wait_for_it"),
        pytest.param(
            replace(_FOLLOW, awaited=False, rebuild=Rebuild(Position(3, Lsn(900)))),
            ["Pause", "Look", "StopPostgres", "WriteSettings"],
            id="its_log_was_measured_already",
        ),
    ],
)
def test_one_that_stands_still_lets_those_attach_that_commits_wait_for_before_it_looks_and_before_it_measures_its_log(
    order: Follow, begins_with: list[str]
) -> None:
    state = replace(_FORMER_PRIMARY, assignment=replace(_ORDER, order=order), sealed_epoch=5)
    done, _ = _performed(state, steps.EndOfWal(3, Lsn(900), None, None))
    assert done[: len(begins_with)] == begins_with
    assert done.count("Pause") == begins_with.count("Pause")


def test_one_that_has_lost_its_state_stops_what_runs_before_anything_is_told_of_it() -> None:
    """Seed 9326723: stopped 50 ms later, it had told as its new self how far a damaged disk had once been flushed."""
    order = replace(_ORDER, order=replace(_FOLLOW, awaited=False))
    state = replace(_STANDBY, assignment=order, promotion_signalled=True)
    done, _ = _performed(state, steps.EndOfWal(3, Lsn(900), None, None), _RUNNING)
    assert done[:2] == ["Look", "StopPostgres"]


def test_the_history_of_a_sibling_is_removed_before_it_is_attached() -> None:
    """E30 (soak on real parts): it had attached to a primary of timeline 4 that was lost at once, the next one forked off
    timeline 3 too, and PostgreSQL, which ran on, asked for timeline 4 for ever."""
    order = replace(_ORDER, order=Follow(_FOLLOW.upstream, 6, (HistoryStep(3, Lsn(900)),)))
    standby = replace(_FORMER_PRIMARY, assignment=order, serving_epoch=0, flushed_mark=None)
    end = steps.EndOfWal(3, Lsn(900), None, None)
    sibling, gap, own = (
        steps.HistoryFile(4, placeholder=False, forks_off_lsn=Lsn(900)),
        steps.HistoryFile(5, placeholder=True, forks_off_lsn=None),
        steps.HistoryFile(6, placeholder=False, forks_off_lsn=Lsn(900)),
    )
    done, _ = _performed(standby, end, _RUNNING, (sibling, gap, own))
    there = [name for name in done if name in ("StopPostgres", "RemoveHistories", "PlaceHistories")]
    assert there == ["StopPostgres", "RemoveHistories", "PlaceHistories"]
    done, _ = _performed(standby, end, _RUNNING, (gap, own))
    assert "StopPostgres" not in done


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(_FORMER_PRIMARY, id="it_was_never_sealed_since"),
        pytest.param(
            replace(
                _FORMER_PRIMARY,
                sealed_epoch=5,
                seal=SealReport(5, _OURS, 3, Lsn(700), Lsn(900), damaged=True),
            ),
            id="it_was_sealed_as_damaged",
        ),
    ],
)
def test_a_former_primary_that_lost_what_it_had_flushed_goes_on_as_another_before_it_streams(
    state: AgentState,
) -> None:
    """Streaming hides the gap: sealed later as whole, it would lower the bound of its own prior (R3 b, I13)."""
    done, after = _performed(state, steps.EndOfWal(3, Lsn(700), None, Lsn(760)))
    assert "StartStandby" not in done
    assert (after.incarnation, after.assignment, after.flushed_mark) == (_NEXT, None, None)


_ATTACHED = steps.Sight(
    PostgresState.STANDBY,
    "77",
    timeline=4,
    flushed_lsn=Lsn(600),
    settings_upstream="a.1@5",
    settings_address="10.0.0.2:5432",
)
_LEFT_BEHIND = replace(_ORDER, order=replace(_FOLLOW, upstream_oldest_lsn=Lsn(1_000)))
_STANDBY_BEHIND = replace(_FORMER_PRIMARY, assignment=_LEFT_BEHIND, serving_epoch=0, flushed_mark=None)


_BEHIND = steps.EndOfWal(4, Lsn(700), None, None)


def _with_leave(end_lsn: int) -> Assignment:
    order = replace(_FOLLOW, upstream_oldest_lsn=Lsn(1_000), rebuild=Rebuild(Position(4, Lsn(end_lsn))))
    return replace(_ORDER, order=order)


@pytest.mark.parametrize(
    ("sight", "begins_with"),
    [
        pytest.param(_ATTACHED, ["Look", "MeasureEnd", "StopPostgres", "MeasureEnd"], id="it_runs"),
        pytest.param(
            replace(_ATTACHED, postgres=PostgresState.STOPPED), ["Look", "MeasureEnd"], id="it_stands_still"
        ),
    ],
)
def test_one_whose_wal_the_upstream_has_no_more_stands_still_and_waits_for_leave(
    sight: steps.Sight, begins_with: list[str]
) -> None:
    done, after = _performed(_STANDBY_BEHIND, _BEHIND, sight)
    assert done == [*begins_with, "Tell"]
    assert after.incarnation == _OURS


def test_with_leave_it_is_cloned_and_goes_on_as_another() -> None:
    state = replace(_STANDBY_BEHIND, assignment=_with_leave(700))
    done, after = _performed(state, _BEHIND, replace(_ATTACHED, postgres=PostgresState.STOPPED))
    assert "Clone" in done
    assert "Rewind" not in done, "it fits"
    assert (after.incarnation, after.rebuilding) == (_NEXT, "")


def test_leave_for_another_end_is_none() -> None:
    """R7: an order that destroys data names the end that it was decided on."""
    state = replace(_STANDBY_BEHIND, assignment=_with_leave(690))
    done, _ = _performed(state, _BEHIND, replace(_ATTACHED, postgres=PostgresState.STOPPED))
    assert "Clone" not in done


@pytest.mark.parametrize(
    ("order", "sight", "end_lsn"),
    [
        pytest.param(_LEFT_BEHIND, _ATTACHED, 1_000, id="its_log_reaches_what_the_upstream_has"),
        pytest.param(_LEFT_BEHIND, replace(_ATTACHED, flushed_lsn=Lsn(1_000)), 700, id="it_streams_by_now"),
        pytest.param(
            _LEFT_BEHIND,
            replace(_ATTACHED, postgres=PostgresState.STARTING),
            700,
            id="it_replays_what_it_has",
        ),
        pytest.param(_ORDER, _ATTACHED, 700, id="nobody_asked"),
    ],
)
def test_nobody_else_stands_still_for_want_of_wal(
    order: Assignment, sight: steps.Sight, end_lsn: int
) -> None:
    state = replace(_STANDBY_BEHIND, assignment=order)
    done, after = _performed(state, steps.EndOfWal(4, Lsn(end_lsn), None, None), sight)
    assert "Clone" not in done
    assert "StopPostgres" not in done
    assert after.incarnation == _OURS


def test_a_torn_last_record_is_no_damage() -> None:
    done, _ = _performed(_FORMER_PRIMARY, steps.EndOfWal(3, Lsn(880), None, Lsn(960)))
    assert "StartStandby" in done


_STANDBY = AgentState(_ORDER.cluster, _ORDER.member, _OURS, "77", _ORDER.version, _ORDER)


def test_a_standby_whose_receiver_had_flushed_more_than_is_there_goes_on_as_another() -> None:
    """PostgreSQL still tells how far it had flushed: streaming would hide the gap from the next seal."""
    done, state = _performed(_STANDBY, steps.EndOfWal(3, Lsn(800), Lsn(900), None), _RUNNING)
    assert "WriteMarker" in done
    assert state.incarnation == _NEXT


def test_damage_that_a_seal_found_is_known_over_a_restart_of_postgresql() -> None:
    """After which nobody but the agent knows how far it had flushed."""
    state = replace(_STANDBY, missing_below_lsn=Lsn(900))
    done, state = _performed(state, steps.EndOfWal(3, Lsn(800), None, None))
    assert "StartStandby" not in done
    assert (state.incarnation, state.missing_below_lsn) == (_NEXT, None)


def test_a_standby_whose_log_ends_below_what_it_sealed_goes_on_as_another() -> None:
    """A receiver that began again where the disk was damaged has overwritten what tells of it (seed 9703968)."""
    end = steps.EndOfWal(3, Lsn(800), Lsn(800), None)
    done, state = _performed(replace(_STANDBY, sealed_at=Position(3, Lsn(900))), end, _RUNNING)
    assert "WriteMarker" in done
    assert (state.incarnation, state.sealed_at) == (_NEXT, NOWHERE)


def test_a_directory_that_is_removed_under_a_running_agent_is_another_incarnation() -> None:
    """What it promised is gone with it (R7); who still runs over removed files acknowledges nothing more."""
    done, state = _performed(
        _STANDBY, steps.EndOfWal(3, Lsn(800), None, None), steps.Sight(PostgresState.ABSENT)
    )
    assert done == ["Look", "StopPostgres", "DrawIncarnation", "Store", "Tell"]
    assert state.assignment is None
    assert (state.incarnation, state.system_identifier) == (_NEXT, "")


def test_a_newcomer_without_a_directory_waits_for_leave_to_clone() -> None:
    newcomer = replace(_STANDBY, system_identifier="")
    done, state = _performed(
        newcomer, steps.EndOfWal(3, Lsn(800), None, None), steps.Sight(PostgresState.ABSENT)
    )
    assert done == ["Look", "Tell"]
    assert state.incarnation == _OURS


def _rebuilt(outcomes: list[steps.StepFailed | None]) -> list[str]:
    """What a member that is to be rewound does, where each rewind ends like this."""
    state = replace(_FORMER_PRIMARY, rebuilding="rewind")
    recipe, done = begin(state, DEFAULT), list[str]()
    outcome: object = None
    failure: steps.StepFailed | None = None
    while True:
        try:
            step = recipe.send(outcome) if failure is None else recipe.throw(failure)
        except StopIteration:
            return done
        done.append(type(step).__name__)
        outcome, failure = None, None
        if isinstance(step, steps.StopPostgres):
            outcome = steps.StopOutcome(clean=True)
        elif isinstance(step, steps.DrawIncarnation):
            outcome = _NEXT
        elif isinstance(step, steps.Store):
            state = outcome = replace(state, **dict[str, Any](step.changes))
        elif isinstance(step, steps.Rewind):
            failure = outcomes.pop(0)


_AWAY = steps.Untouched("b takes no connection")


def test_a_rewind_whose_source_was_away_is_tried_again_while_nothing_is_touched() -> None:
    done = _rebuilt([_AWAY, _AWAY, None])
    assert (done.count("Rewind"), done.count("Pause"), done.count("Clone")) == (3, 2, 0)


def test_a_rewind_that_may_have_touched_something_is_followed_by_a_clone() -> None:
    done = _rebuilt([_AWAY, steps.StepFailed("pg_rewind failed")])
    assert (done.count("Rewind"), done.count("Clone")) == (2, 1)


def test_a_source_that_stays_away_is_not_waited_for_for_ever() -> None:
    done = _rebuilt([_AWAY] * 100)
    assert (done.count("Rewind"), done.count("Clone")) == (20, 1)
