"""Was the data directory lost or exchanged while the agent was away? (protocol.md, R7, R13)

Pure. Who forgets does not vote: a directory that is gone, or whose marker names somebody else, holds another
log than the one that this incarnation promised to keep, so the agent is a new incarnation. Looked at once,
when the agent starts; afterwards only the agent itself changes the directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import replace

from agents.core.state import NOWHERE, AgentState
from agents.core.steps import Sight
from common.assignment import Initialise
from common.facts import PostgresState
from common.ids import IncarnationId


def why_renewed(state: AgentState, sight: Sight) -> str:
    """Words for people; empty while state and directory belong together.

    Without a system identifier in the state no directory was ever claimed. A rebuild or an initialisation
    that was cut short is known by itself, and goes on.
    """
    if not state.system_identifier or state.rebuilding:
        return ""
    if state.assignment is not None and isinstance(state.assignment.order, Initialise):
        return ""
    if sight.postgres is PostgresState.ABSENT:
        return "the data directory was lost"
    if sight.belongs_to:
        return f"the data directory is that of {sight.belongs_to}"
    if sight.system_identifier and sight.system_identifier != state.system_identifier:
        return f"the data directory is of another cluster, {sight.system_identifier}"
    if sight.system_identifier and not sight.marker_matches:
        return "the data directory was exchanged: its marker names another incarnation"
    return ""


FORGOTTEN: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "assignment": None,
        "seal": None,
        "promotion": None,
        "promotion_signalled": False,
        "serving_rule": None,
        "confirmation": None,
        "flushed_mark": None,
        "sealed_at": NOWHERE,
        "missing_below_lsn": None,
    }
)
"""What another incarnation starts with: nothing that the old one promised or was told (R13)."""


def renewed(state: AgentState, incarnation: IncarnationId) -> AgentState:
    """Nothing that the old incarnation promised or was told holds for the new one, but `obeyed` (I9)."""
    return replace(
        state,
        incarnation=incarnation,
        system_identifier="",
        **FORGOTTEN,
    )
