"""A sealed voter follows the candidate of its epoch as soon as that is the primary, and never before (R5, R9)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from agents.core import steps
from agents.core.recipes import begin, supersedes
from agents.core.state import AgentState
from common.assignment import Assignment, Follow, HistoryStep, Seal, Successor, Upstream, Version
from common.facts import PostgresState, SealReport
from common.ids import ClusterName, IncarnationId, MemberName, application_name
from common.lsn import Lsn
from common.profile import DEFAULT

_OURS = IncarnationId("00000000000000aa")
_B = Upstream(MemberName("b"), "10.0.0.2", 5432)
_ORDER = Assignment(
    ClusterName("c1"), MemberName("a"), _OURS, 1, Version(5, 51), "77", Seal(successor=Successor(_B, 4))
)
_SEALED = AgentState(
    _ORDER.cluster, _ORDER.member, _OURS, "77", _ORDER.version, _ORDER, 5,
    SealReport(5, _OURS, 3, Lsn(900), Lsn(900)),
)  # fmt: skip
_STANDBY = steps.Sight(PostgresState.STANDBY, "77", timeline=3, settings_rule="x")
_PROMOTED = (HistoryStep(3, Lsn(900)),)
_OUT_OF_REACH = "out of reach"


def _performed(
    state: AgentState = _SEALED,
    sight: steps.Sight = _STANDBY,
    answers: tuple[object, ...] = (_PROMOTED, _PROMOTED),
) -> list[steps.Step]:
    recipe, done, left = begin(state, DEFAULT), list[steps.Step](), list(answers)
    outcome: object = None
    while True:
        try:
            if outcome == _OUT_OF_REACH:
                step = recipe.throw(steps.StepFailed(_OUT_OF_REACH))
            else:
                step = recipe.send(outcome)
        except StopIteration:
            return done
        done.append(step)
        outcome = None
        match step:
            case steps.Look():
                outcome = sight
            case steps.AwaitSuccessor():
                outcome = left.pop(0) if left else ()
            case steps.ListHistories():
                outcome = ()
            case steps.MeasureEnd():
                outcome = steps.EndOfWal(3, Lsn(900), Lsn(900), None)
            case steps.StopPostgres():
                outcome = steps.StopOutcome(clean=False)
            case steps.Store(changes):
                changed: dict[str, Any] = dict(changes)
                state = outcome = replace(state, **changed)


def _streams(done: list[steps.Step]) -> list[steps.Stream]:
    return [step.stream for step in done if isinstance(step, steps.WriteSettings) and step.stream is not None]


def _asked(done: list[steps.Step]) -> list[steps.AwaitSuccessor]:
    return [step for step in done if isinstance(step, steps.AwaitSuccessor)]


def test_it_looks_until_its_slot_is_there_and_then_streams_through_it() -> None:
    done = _performed(answers=((), (), _PROMOTED, (), _PROMOTED))
    assert [step.slot for step in _asked(done)] == ["", "", "", "a_1_e5", "a_1_e5"]
    (stream,) = _streams(done)
    assert (stream.upstream, stream.slot, stream.epoch) == (_B, "a_1_e5", 5)
    placed = [step for step in done if isinstance(step, steps.PlaceHistories)]
    assert placed == [steps.PlaceHistories(4, _PROMOTED)]
    assert done.index(placed[0]) < next(at for at, step in enumerate(done) if _streams([step]))


def test_its_history_is_brought_while_the_slot_is_not_there_yet() -> None:
    done = _performed(answers=(_PROMOTED,))
    assert [step for step in done if isinstance(step, steps.PlaceHistories)]
    assert not _streams(done)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param((), id="nobody_was_promoted_in_time"),
        pytest.param((_OUT_OF_REACH,), id="it_is_out_of_reach"),
        pytest.param(((HistoryStep(3, Lsn(880)),),) * 2, id="it_forked_off_below_our_end"),
        pytest.param(((HistoryStep(2, Lsn(880)),),) * 2, id="it_is_of_another_branch"),
    ],
)
def test_whatever_does_not_fit_stays_sealed(answers: tuple[object, ...]) -> None:
    done = _performed(answers=answers)
    assert not _streams(done)
    assert not [step for step in done if isinstance(step, steps.PlaceHistories)]


@pytest.mark.parametrize(
    ("state", "sight"),
    [
        pytest.param(replace(_SEALED, seal=None), _STANDBY, id="it_is_not_sealed_yet"),
        pytest.param(
            replace(_SEALED, seal=replace(_SEALED.seal, epoch=4)),  # type: ignore[type-var]
            _STANDBY,
            id="its_seal_is_of_an_older_epoch",
        ),
        pytest.param(
            replace(_SEALED, seal=replace(_SEALED.seal, damaged=True)),  # type: ignore[type-var]
            _STANDBY,
            id="its_wal_is_damaged",
        ),
        pytest.param(
            replace(_SEALED, promotion_signalled=True), _STANDBY, id="it_was_told_to_promote_itself"
        ),
        pytest.param(_SEALED, replace(_STANDBY, postgres=PostgresState.STOPPED), id="it_is_stopped"),
        pytest.param(
            _SEALED,
            replace(_STANDBY, settings_upstream="a.1@3"),
            id="its_settings_name_somebody_else_since_the_seal",
        ),
        pytest.param(replace(_SEALED, rebuilding="clone"), _STANDBY, id="a_clone_was_cut_short"),
    ],
)
def test_who_may_not_follow_does_not_even_look(state: AgentState, sight: steps.Sight) -> None:
    done = _performed(state, sight)
    assert not _asked(done)
    assert not _streams(done)


def test_once_it_follows_it_is_not_sealed_again_in_the_same_epoch() -> None:
    attached = replace(
        _STANDBY,
        settings_upstream=application_name(MemberName("a"), 1, 5),
        settings_address=f"{_B.host}:{_B.port}",
    )
    done = _performed(sight=attached)
    assert not [step for step in done if isinstance(step, steps.WriteSettings | steps.EndReceivers)]


def _at(order: Seal | Follow, epoch: int = 5) -> Assignment:
    return replace(_ORDER, order=order, version=Version(epoch, 52))


@pytest.mark.parametrize(
    ("new", "gives_way"),
    [
        pytest.param(_at(Follow(_B, 4, _PROMOTED)), False, id="the_same_place_in_the_same_epoch"),
        pytest.param(_at(Follow(_B, 5, _PROMOTED)), True, id="another_timeline"),
        pytest.param(_at(Follow(_B, 4, _PROMOTED), epoch=6), True, id="another_epoch"),
        pytest.param(_at(Seal(), epoch=6), True, id="the_candidate_was_given_up"),
        pytest.param(_at(Seal()), False, id="the_same_seal"),
    ],
)
def test_on_its_way_it_gives_way_only_to_what_goes_elsewhere(new: Assignment, gives_way: bool) -> None:
    assert supersedes(_ORDER, new) is gives_way


def test_a_seal_under_way_goes_on_when_the_successor_is_known() -> None:
    assert not supersedes(_at(Seal()), _ORDER)
