"""What the leader can order, an agent can do: no order without a recipe, no step that nobody performs."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from agents.core import steps
from agents.core.recipes import begin, supersedes
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
from common.rule import SOLO

ROOT = Path(__file__).parents[3]
_STEPS = sorted(
    (kind for kind in vars(steps).values() if isinstance(kind, type) and issubclass(kind, steps.Step)),
    key=lambda kind: kind.__name__,
)
# The base; a part of WriteSettings; the prober's alone, whom the simulator's agent plays itself.
_NOT_YIELDED = (steps.Step, steps.Stream, steps.Open)
_ORDERS: tuple[AnyOrder, ...] = (
    Wait(),
    Initialise(),
    Seal(),
    Promote(2, Position(1, Lsn(1000)), SOLO),
    Serve(1, SOLO),
    Follow(Upstream(MemberName("a"), "10.0.0.1", 5432), 1, ()),
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
    ],
)
def test_a_seal_under_way_is_not_begun_anew_for_a_later_revision_of_its_epoch(
    running: AnyOrder, new: tuple[AnyOrder, int, int], is_superseded: bool
) -> None:
    assert supersedes(_assigned(running, 3, 10), _assigned(*new)) is is_superseded
