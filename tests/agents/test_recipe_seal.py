"""How a primary is sealed: at a switchover it writes a checkpoint first, and stops whatever comes of that."""

from __future__ import annotations

import pytest

from agents.core.recipe_seal import seal
from agents.core.state import AgentState
from agents.core.steps import (
    Checkpoint,
    EndOfWal,
    Look,
    MeasureEnd,
    Outcome,
    SeeCrash,
    Sight,
    Step,
    StepFailed,
    StopOutcome,
    StopPostgres,
    Store,
)
from common.assignment import Assignment, Seal, Version
from common.facts import PostgresState
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import Lsn
from common.profile import DEFAULT

SHOP, A, MINE = ClusterName("shop"), MemberName("a"), IncarnationId("00000000000000aa")


def steps_of(order: Seal, postgres: PostgresState, *, fails: type[Step] | None = None) -> list[Step]:
    """The steps that the recipe takes; the kind that `fails` is answered by a failure."""
    version = Version(2, 20)
    assignment = Assignment(
        cluster=SHOP, member=A, incarnation=MINE, number=1, version=version, system_identifier="12345",
        order=order,
    )  # fmt: skip
    state = AgentState(SHOP, A, MINE, "12345", version, assignment, sealed_epoch=2)
    sight = Sight(postgres, "12345", timeline=3, was_primary=True)
    answers: dict[type[Step], Outcome] = {
        SeeCrash: False,
        Look: sight,
        Store: state,
        StopPostgres: StopOutcome(clean=True),
        MeasureEnd: EndOfWal(3, Lsn(0x500), None, None),
    }
    taken: list[Step] = []
    recipe = seal(state, order, DEFAULT)
    answer: Outcome = None
    try:
        while True:
            step = recipe.throw(answer) if isinstance(answer, StepFailed) else recipe.send(answer)
            taken.append(step)
            answer = StepFailed("the disk is slow") if type(step) is fails else answers.get(type(step))
    except StopIteration:
        return taken


def kinds(steps: list[Step]) -> list[type[Step]]:
    return [type(step) for step in steps if isinstance(step, Checkpoint | StopPostgres | MeasureEnd)]


@pytest.mark.parametrize("fails", [None, Checkpoint])
def test_a_primary_that_hands_over_writes_a_checkpoint_and_stops_whatever_comes_of_it(
    fails: type[Step] | None,
) -> None:
    steps = steps_of(Seal(drain=True), PostgresState.PRIMARY, fails=fails)
    assert kinds(steps) == [Checkpoint, StopPostgres, MeasureEnd]


def test_the_checkpoint_and_the_stop_together_keep_to_the_time_that_the_leader_grants() -> None:
    steps = steps_of(Seal(drain=True), PostgresState.PRIMARY)
    checkpoint = next(step for step in steps if isinstance(step, Checkpoint))
    stop = next(step for step in steps if isinstance(step, StopPostgres))
    assert checkpoint.within_ms + stop.clean_within_ms == DEFAULT.drain_within_ms


def test_a_seal_at_once_writes_no_checkpoint() -> None:
    assert kinds(steps_of(Seal(), PostgresState.PRIMARY)) == [StopPostgres, MeasureEnd]


def test_a_primary_that_does_not_run_writes_no_checkpoint() -> None:
    assert kinds(steps_of(Seal(drain=True), PostgresState.STOPPED)) == [StopPostgres, MeasureEnd]
