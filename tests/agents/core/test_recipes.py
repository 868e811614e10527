"""What the leader can order, an agent can do: no order without a recipe, no step that nobody performs."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import replace

from agents.core import steps
from agents.core.recipes import asks_the_same, begin, supersedes
from agents.core.state import AgentState
from common.assignment import (
    AnyOrder,
    Assignment,
    Follow,
    Initialise,
    Order,
    Position,
    Promote,
    Seal,
    Serve,
    Upstream,
    Version,
    Wait,
)
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import Lsn
from common.profile import DEFAULT
from common.rule import SOLO, Voter

ROOT = Path(__file__).parents[3]
_STEPS = sorted(
    (kind for kind in vars(steps).values() if isinstance(kind, type) and issubclass(kind, steps.Step)),
    key=lambda kind: kind.__name__,
)
# The base; a part of WriteSettings; the prober's alone, whom the simulator's agent plays itself.
_NOT_YIELDED = (steps.Step, steps.Stream, steps.Open)
_FOLLOWS = Follow(Upstream(MemberName("a"), "10.0.0.1", 5432), 1, ())
_PROMOTION = Promote(2, Position(1, Lsn(1000)), SOLO, ("c_1_e3",))
_AS_PROMOTED = Serve(2, SOLO, slots=("c_1_e3",))
B = Voter(MemberName("b"), 1)
_ORDERS: tuple[AnyOrder, ...] = (
    Wait(),
    Initialise(),
    Seal(),
    Promote(2, Position(1, Lsn(1000)), SOLO),
    Serve(1, SOLO),
    _FOLLOWS,
)


@pytest.mark.covers("S104")
@pytest.mark.parametrize("order", _ORDERS, ids=lambda order: type(order).__name__)
def test_every_order_has_a_recipe(order: AnyOrder) -> None:
    cluster, name, incarnation = ClusterName("c1"), MemberName("b"), IncarnationId("b" * 16)
    assignment = Assignment(cluster, name, incarnation, 1, Version(3, 10), "77", order)
    state = AgentState(cluster, name, incarnation, obeyed=assignment.version, assignment=assignment)
    assert isinstance(next(begin(state, DEFAULT)), steps.Step)


@pytest.mark.covers("S104")
def test_no_order_is_left_out_here() -> None:
    assert {type(order) for order in _ORDERS} == set(get_args(AnyOrder)) == set(Order.__subclasses__())


@pytest.mark.covers("S104")
@pytest.mark.parametrize(
    "step", [step for step in _STEPS if step not in _NOT_YIELDED], ids=lambda step: step.__name__
)
def test_every_step_is_performed_by_the_agent_and_by_the_simulator(step: type[steps.Step]) -> None:
    named = f"{step.__name__}("
    agent = [path.read_text() for path in (ROOT / "agents").rglob("*.py") if "core" not in path.parts]
    assert any(f"steps.{named}" in text or f" {named}" in text for text in agent), "no agent performs it"
    simulated = [path.read_text() for path in (ROOT / "tests/simulator").glob("*.py")]
    assert any(f"st.{step.__name__}" in text for text in simulated), "the simulator does not know it"


def _assigned(order: AnyOrder, epoch: int, revision: int) -> Assignment:
    return Assignment(
        ClusterName("c1"), MemberName("b"), IncarnationId("b" * 16), 1, Version(epoch, revision), "77", order
    )


@pytest.mark.parametrize(
    ("running", "new", "is_superseded"),
    [
        pytest.param(Seal(), (Seal(), 3, 11), False, id="the_same_stop_goes_on"),
        pytest.param(Seal(drain=True), (Seal(drain=True), 3, 11), False, id="also_a_clean_one"),
        pytest.param(Seal(drain=True), (Seal(), 3, 11), True, id="the_time_for_a_clean_stop_is_up"),
        pytest.param(Seal(), (Seal(), 4, 11), True, id="of_another_epoch"),
        pytest.param(Seal(), (_ORDERS[3], 3, 11), True, id="it_is_the_candidate"),
        pytest.param(_ORDERS[3], (_ORDERS[3], 3, 11), True, id="a_promotion_is_looked_at_again"),
        pytest.param(_ORDERS[4], (_ORDERS[4], 3, 11), True, id="so_is_what_is_served"),
        pytest.param(_PROMOTION, (_AS_PROMOTED, 3, 11), False, id="it_serves_as_it_was_promoted"),
        pytest.param(_PROMOTION, (_AS_PROMOTED, 4, 11), True, id="in_another_epoch"),
        pytest.param(
            _PROMOTION, (replace(_AS_PROMOTED, slots=("d_1_e3",)), 3, 11), True, id="another_slot_is_wanted"
        ),
    ],
)
def test_a_seal_under_way_is_not_begun_anew_for_a_later_revision_of_its_epoch(
    running: AnyOrder, new: tuple[AnyOrder, int, int], is_superseded: bool
) -> None:
    assert supersedes(_assigned(running, 3, 10), _assigned(*new)) is is_superseded


@pytest.mark.parametrize(
    ("before", "new", "is_the_same"),
    [
        pytest.param(Seal(), (Seal(), 3, 11), True, id="a_seal_of_a_later_revision"),
        pytest.param(_FOLLOWS, (_FOLLOWS, 3, 11), True, id="the_same_primary"),
        pytest.param(Seal(drain=True), (Seal(), 3, 11), True, id="sealed_is_sealed_cleanly_or_not"),
        pytest.param(Seal(), (Seal(), 4, 11), False, id="a_seal_of_another_epoch"),
        pytest.param(
            _FOLLOWS, (replace(_FOLLOWS, awaited=False), 3, 11), True, id="commits_wait_for_it_no_more"
        ),
        pytest.param(Seal(), (_FOLLOWS, 3, 11), False, id="another_order"),
        pytest.param(_ORDERS[3], (_ORDERS[3], 3, 11), False, id="a_promotion_is_looked_at_again"),
        pytest.param(
            _ORDERS[4], (_ORDERS[4], 3, 11), False, id="a_change_of_the_rule_is_confirmed_for_each_revision"
        ),
    ],
)
def test_what_is_asked_for_already_is_not_looked_at_again_for_a_later_revision(
    before: AnyOrder, new: tuple[AnyOrder, int, int], is_the_same: bool
) -> None:
    assert asks_the_same(_assigned(before, 3, 10), _assigned(*new)) is is_the_same


def test_of_nothing_nothing_was_asked() -> None:
    assert not asks_the_same(None, _assigned(Seal(), 3, 10))
