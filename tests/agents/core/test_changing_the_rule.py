"""How a primary puts another rule in force, and waits for its voters (R6)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agents.core import steps
from agents.core.recipes import begin
from agents.core.state import AgentState
from common.assignment import Assignment, Serve, Version
from common.facts import PostgresState
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import Lsn
from common.profile import DEFAULT
from common.rule import Rule, Voter, quorum

_OURS = IncarnationId("00000000000000aa")
_BARRIER = Lsn(1_000)


def _any_of(*names: str) -> Rule:
    return quorum([Voter(MemberName(name), 1) for name in names], 1)


_CHANGE = Assignment(
    ClusterName("c1"), MemberName("a"), _OURS, 1, Version(4, 20), "77", Serve(3, _any_of("b", "c"), _any_of("b"))
)  # fmt: skip
_SERVES = AgentState(
    _CHANGE.cluster, _CHANGE.member, _OURS, "77", _CHANGE.version, _CHANGE,
    serving_rule=_any_of("b", "c"), serving_epoch=4,
)  # fmt: skip


def _performed(b_has_it_after_ms: int) -> list[steps.Step]:
    """What is done while b's flush takes so long; each walsender that is ended is back as another pid."""
    recipe = begin(_SERVES, DEFAULT)
    done: list[steps.Step] = []
    state, rule, pids, waited_ms = _SERVES, "", {"b.1@4": 11, "c.1@4": 12}, 0
    outcome: object = None
    while True:
        try:
            step = recipe.send(outcome)
        except StopIteration:
            return done
        done.append(step)
        outcome = None
        match step:
            case steps.Look():
                outcome = steps.Sight(PostgresState.PRIMARY, "77", timeline=3)
            case steps.Store(changes=changes):
                state = outcome = replace(state, **dict(changes))
            case steps.WriteSettings(rule=rule):
                pass
            case steps.SeeRule():
                outcome = rule
            case steps.EndWalsender(pid=pid):
                pids = {name: was + 100 if was == pid else was for name, was in pids.items()}
            case steps.Pause(pause_ms=pause_ms):
                waited_ms += pause_ms
            case steps.InsertPosition() | steps.LocalCommit():
                outcome = _BARRIER
            case steps.ListWalsenders():
                flushed = _BARRIER if waited_ms >= b_has_it_after_ms else Lsn(900)
                outcome = tuple(steps.Walsender(pid, name, True, flushed) for name, pid in pids.items())


@pytest.mark.parametrize("b_has_it_after_ms", [0, 100, 25_000])
def test_each_walsender_is_ended_once_however_long_the_new_voters_take(b_has_it_after_ms: int) -> None:
    """Where packets are lost a stream takes seconds to come back: ended again and again it never does."""
    done = _performed(b_has_it_after_ms)
    assert [step.pid for step in done if isinstance(step, steps.EndWalsender)] == [11, 12]
    assert done[-1] == steps.ConfirmRule(_BARRIER)


def test_one_that_waits_in_vain_says_so_in_the_end() -> None:
    with pytest.raises(steps.StepFailed, match=r"1 of ANY 1 \(b\.1\) did not flush 0/3E8 in time"):
        _performed(120_000)
