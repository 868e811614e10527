"""What is done before a promotion is ordered to PostgreSQL (R11)."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from agents.core import steps
from agents.core.recipes import begin
from agents.core.state import AgentState
from common.assignment import Assignment, Position, Promote, Version
from common.facts import PostgresState, Promotion, SealReport
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import ZERO, Lsn
from common.profile import DEFAULT
from common.rule import FENCE, SOLO, Voter, quorum

_OURS = IncarnationId("00000000000000aa")
_PROMOTE = Promote(10, Position(7, Lsn(900)), SOLO)
_ORDER = Assignment(ClusterName("c1"), MemberName("b"), _OURS, 1, Version(10, 90), "77", _PROMOTE)
_STATE = AgentState(
    _ORDER.cluster, _ORDER.member, _OURS, "77", _ORDER.version, _ORDER,
    sealed_epoch=10, seal=SealReport(10, _OURS, 7, Lsn(900), Lsn(900)),
)  # fmt: skip
_SEALED = steps.Sight(PostgresState.STANDBY, "77", settings_rule=FENCE, timeline=7)


def _until_ordered(files: dict[int, bool]) -> list[steps.Step]:
    """`files`: timeline → placeholder. A start removes trailing placeholders, as R8 says."""
    recipe, done, state = begin(_STATE, DEFAULT), list[steps.Step](), _STATE
    outcome: object = None
    while True:
        step = recipe.send(outcome)
        done.append(step)
        outcome = None
        match step:
            case steps.PromotePostgres():
                return done
            case steps.Look():
                outcome = _SEALED
            case steps.Reached() | steps.AwaitReplay():
                outcome = True
            case steps.StopPostgres():
                outcome = steps.StopOutcome(clean=False)
            case steps.StartStandby():
                while files and files[max(files)]:
                    del files[max(files)]
            case steps.RemoveHistories(timelines):
                for timeline in timelines:
                    del files[timeline]
            case steps.PlantPlaceholders(_, timelines):
                files.update(dict.fromkeys(timelines, True))
            case steps.ListHistories(above):
                outcome = tuple(
                    steps.HistoryFile(t, placeholder, None if placeholder else Lsn(900))
                    for t, placeholder in sorted(files.items())
                    if t > above
                )
            case steps.Store(changes):
                changed: dict[str, Any] = dict(changes)
                state = outcome = replace(state, **changed)


def test_skipped_timelines_get_placeholders_so_that_postgresql_takes_the_allocated_one() -> None:
    files: dict[int, bool] = {}
    _until_ordered(files)
    assert sorted(files) == [8, 9]


def test_placeholders_that_went_with_a_removed_history_are_planted_again() -> None:
    files = {8: True, 9: False}  # it had attached to timeline 9, and got no record of it
    done = _until_ordered(files)
    assert files == {8: True, 9: True}
    assert any(isinstance(step, steps.RemoveHistories) for step in done)


def test_the_order_is_durable_before_it_is_given() -> None:
    done = _until_ordered({})
    stored = next(step for step in done if isinstance(step, steps.Store))
    assert stored.changes["promotion_told"] == 10
    assert done.index(stored) < len(done) - 1


def _after_it(order: Promote) -> list[steps.Step]:
    """What follows a promotion that is done, and whose rule is not in force yet."""
    assignment = replace(_ORDER, order=order)
    promotion = Promotion(10, 10, Lsn(900), ZERO)
    state = replace(_STATE, assignment=assignment, promotion=promotion, promotion_told=10)
    recipe, done = begin(state, DEFAULT), list[steps.Step]()
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
                outcome = steps.Sight(PostgresState.PRIMARY, "77", settings_rule=FENCE, timeline=10)
            case steps.SeeRule():
                outcome = order.rule.synchronous_standby_names(10)
            case steps.LocalCommit():
                outcome = Lsn(1000)
            case steps.Store(changes):
                changed: dict[str, Any] = dict(changes)
                state = outcome = replace(state, **changed)


def test_the_slots_that_no_commit_waits_for_are_made_when_the_others_stream() -> None:
    slots = ("c_1_e10", "a_1_e10", "d_1_e10")
    voters = (Voter(MemberName("a"), 1), Voter(MemberName("c"), 1), Voter(MemberName("d"), 1))
    done = _after_it(replace(_PROMOTE, rule=quorum(voters, 1), slots=slots))
    made = [step for step in done if isinstance(step, steps.MakeSlots)]
    assert [step.slots for step in made] == [slots[:1], slots]
    between = done[done.index(made[0]) : done.index(made[1])]
    assert any(isinstance(step, steps.Tell) for step in between)
    assert any(isinstance(step, steps.Pause) for step in between)


def test_where_every_commit_waits_for_all_of_them_their_slots_are_made_at_once() -> None:
    slots = ("c_1_e10", "d_1_e10")
    voters = (Voter(MemberName("c"), 1), Voter(MemberName("d"), 1))
    done = _after_it(replace(_PROMOTE, rule=quorum(voters, 2), slots=slots))
    assert [step.slots for step in done if isinstance(step, steps.MakeSlots)] == [slots]
    assert not any(isinstance(step, steps.Pause) for step in done)


def test_a_primary_that_serves_alone_makes_all_slots_without_a_pause() -> None:
    done = _after_it(replace(_PROMOTE, slots=("a_1_e10",)))
    assert [step.slots for step in done if isinstance(step, steps.MakeSlots)] == [("a_1_e10",)]
    assert not any(isinstance(step, steps.Pause) for step in done)
