"""Under which rule do the commits of this epoch count? (protocol.md, R7, R8, "Staying up" b)

Pure. The prober, the deadline and the guard's own commit all go by this one answer.
"""

from __future__ import annotations

from agents.core.state import AgentState
from common.assignment import Promote, Serve
from common.rule import Rule


def rule_served(state: AgentState) -> Rule | None:
    """None when the stored order is not to be a primary, or the stored rule is of another epoch."""
    if state.assignment is None or not isinstance(state.assignment.order, Serve | Promote):
        return None
    if state.serving_epoch != state.obeyed.epoch or state.sealed_epoch > state.serving_epoch:
        return None
    return state.serving_rule
