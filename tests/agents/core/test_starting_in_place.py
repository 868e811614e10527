"""When a primary is started again where it was (R8)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from agents.core import steps
from agents.core.recipes import begin
from agents.core.state import AgentState, FlushedMark
from common.assignment import Assignment, Position, Serve, Version
from common.facts import PostgresState
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import Lsn
from common.profile import DEFAULT
from common.rule import SOLO, Voter, quorum

_OURS = IncarnationId("00000000000000aa")
_RULE = quorum([Voter(MemberName("b"), 1)], 1)
_ORDER = Assignment(ClusterName("c1"), MemberName("a"), _OURS, 1, Version(4, 20), "77", Serve(3, _RULE))
_SERVED = AgentState(
    _ORDER.cluster, _ORDER.member, _OURS, "77", _ORDER.version, _ORDER,
    serving_rule=_RULE, serving_epoch=4, flushed_mark=FlushedMark(4, Lsn(900)),
)  # fmt: skip


def _performed(state: AgentState, end: steps.EndOfWal) -> list[str]:
    recipe, done = begin(state, DEFAULT), list[str]()
    outcome: object = None
    postgres = PostgresState.STOPPED
    while True:
        try:
            step = recipe.send(outcome)
        except StopIteration:
            return done
        done.append(type(step).__name__)
        if isinstance(step, steps.StartPrimary):
            postgres = PostgresState.PRIMARY
        answers: dict[type, object] = {
            steps.Look: steps.Sight(postgres, "77", timeline=3, was_primary=True),
            steps.MeasureEnd: end,
        }
        outcome = answers.get(type(step))
        if isinstance(step, steps.Store):
            changed: dict[str, Any] = dict(step.changes)
            state = outcome = replace(state, **changed)


def test_one_whose_log_is_whole_is_started() -> None:
    assert "StartPrimary" in _performed(_SERVED, steps.EndOfWal(3, Lsn(900), None, None))


def test_a_torn_last_record_is_no_reason_to_stay_down() -> None:
    assert "StartPrimary" in _performed(_SERVED, steps.EndOfWal(3, Lsn(880), None, Lsn(950)))


@pytest.mark.parametrize("rule", [pytest.param(_RULE, id="quorum"), pytest.param(SOLO, id="solo")])
def test_one_whose_disk_lost_what_it_had_flushed_is_not_started(rule: Any) -> None:
    """PostgreSQL would come up below it without a word, on the same timeline (E29)."""
    state = replace(_SERVED, serving_rule=rule)
    with pytest.raises(steps.StepFailed, match="0/320, and 0/384 was flushed"):
        _performed(state, steps.EndOfWal(3, Lsn(800), None, None))


def test_a_mark_of_another_epoch_says_nothing_about_this_one() -> None:
    state = replace(_SERVED, flushed_mark=FlushedMark(3, Lsn(900)))
    assert "StartPrimary" in _performed(state, steps.EndOfWal(3, Lsn(800), None, None))


def test_one_whose_log_ends_below_what_it_sealed_is_not_started_though_no_mark_says_so() -> None:
    state = replace(_SERVED, flushed_mark=None, sealed_at=Position(3, Lsn(900)))
    with pytest.raises(steps.StepFailed, match="0/320, and 0/384 was flushed"):
        _performed(state, steps.EndOfWal(3, Lsn(800), None, None))
