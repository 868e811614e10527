"""What the leader can order, an agent can do: no order without a recipe, no step that nobody performs."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from agents.core import steps
from agents.core.recipes import begin
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
