"""Is this data directory ours to work with? (protocol.md, R7, R13)

Pure. The marker in it names (cluster, system identifier, member, incarnation). An agent that lost its
state is a new incarnation; once the leader has written that into the record, the directory becomes
that incarnation's, provided that it is of the same cluster by its system identifier.
"""

from __future__ import annotations

from agents.core import asking
from agents.core.asking import Recipe
from agents.core.state import AgentState
from agents.core.steps import Sight, Tell, WriteMarker
from common.assignment import Assignment


def claim_directory(state: AgentState, assignment: Assignment, sight: Sight) -> Recipe[bool]:
    """Answers whether it is ours; tells why, with both names, when it is not."""
    expected = assignment.system_identifier
    if expected and sight.system_identifier != expected:
        yield Tell(
            error=f"the data directory is of another cluster: its system identifier is "
            f"{sight.system_identifier}, that of {assignment.cluster} is {expected}; nothing was done"
        )
        return False
    if not sight.marker_matches or not state.system_identifier:
        state = yield from asking.store(system_identifier=sight.system_identifier)
        yield WriteMarker(state)
    return True
