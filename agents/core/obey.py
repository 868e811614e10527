"""May this order be obeyed? (protocol.md, R7)

Pure. What is accepted becomes durable before anything is done about it.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from agents.core.state import AgentState
from common.assignment import Assignment, Seal


@dataclass(frozen=True, slots=True)
class Obeyed:
    state: AgentState
    """To be stored, durably, before the order is acted upon."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same order again: nothing to store."""


@dataclass(frozen=True, slots=True)
class RefusedOrder:
    reason: str


Verdict = Obeyed | Repeated | RefusedOrder


def consider(state: AgentState, assignment: Assignment) -> Verdict:
    """Accept a higher (epoch, revision) than the stored one, or an equal one (a repeat)."""
    if (assignment.cluster, assignment.member) != (state.cluster, state.member):
        return RefusedOrder(
            f"is for {assignment.cluster}/{assignment.member}, this is {state.cluster}/{state.member}"
        )
    if assignment.incarnation != state.incarnation:
        return RefusedOrder(f"is for incarnation {assignment.incarnation}, this is {state.incarnation}")
    if state.system_identifier and assignment.system_identifier not in ("", state.system_identifier):
        return RefusedOrder(
            f"is for the cluster with system identifier {assignment.system_identifier}; "
            f"the data directory here has {state.system_identifier}"
        )
    if assignment.version < state.obeyed:
        return RefusedOrder(
            f"carries {assignment.version.epoch}/{assignment.version.revision}, below the obeyed "
            f"{state.obeyed.epoch}/{state.obeyed.revision}"
        )
    if assignment.version == state.obeyed and state.assignment is not None:
        if state.assignment == assignment:
            return Repeated()
        return RefusedOrder("differs from the stored order of the same version")
    epoch = assignment.version.epoch
    return Obeyed(
        replace(
            state,
            obeyed=assignment.version,
            assignment=assignment,
            highest_number=max(state.highest_number, assignment.number),
            sealed_epoch=max(state.sealed_epoch, epoch)
            if isinstance(assignment.order, Seal)
            else state.sealed_epoch,
            seal=state.seal if state.seal is not None and state.seal.epoch == epoch else None,
        )
    )
