"""How a sealed voter follows the candidate of its epoch as soon as that is its primary (protocol.md, R5, R9).

Pure. The first commit of a new primary waits for its voters, so they do not wait until the record is STABLE and says
whom to follow: they know it with the promotion, and look at the candidate itself until it is promoted and has made the
slots of the epoch. Whatever does not fit here stays sealed; the order that comes with STABLE goes the whole way.
"""

from __future__ import annotations

from agents.core import asking
from agents.core.asking import Recipe
from agents.core.lineage import misfit
from agents.core.recipe_follow import bring_history, stay_attached, stream_of, stream_on
from agents.core.recipe_seal import acts_as_primary, seal
from agents.core.state import AgentState
from agents.core.steps import StepFailed
from common.assignment import Assignment, HistoryStep, Position, Seal, Successor
from common.facts import PostgresState
from common.profile import Profile

_LOOKS = 60
_LOOK_WITHIN_MS = 30


def seal_and_succeed(
    state: AgentState, assignment: Assignment, order: Seal, successor: Successor, profile: Profile
) -> Recipe[None]:
    stream = stream_of(assignment, successor.upstream)
    report = state.seal
    sealed = report is not None and (report.epoch, report.incarnation) == (stream.epoch, state.incarnation)
    sight = yield from asking.look()
    if sealed and sight.settings_upstream == stream.application_name and not acts_as_primary(state, sight):
        yield from stay_attached(stream, sight)
        return
    yield from seal(state, order, profile)
    if not sealed or state.rebuilding:
        return  # begun anew, from what was stored
    assert report is not None
    as_sealed = sight.postgres is PostgresState.STANDBY and not sight.settings_upstream
    if report.damaged or not as_sealed or acts_as_primary(state, sight):
        return
    # Its history comes some milliseconds before its slot: what is done with it is done by then.
    history = yield from _await(successor, "")
    position = Position(report.timeline, report.end_lsn)
    if not history or misfit(position, successor.timeline, history):
        return
    yield from bring_history(successor.timeline, history, position)
    if (yield from _await(successor, stream.slot)):
        yield from stream_on(stream)


def _await(successor: Successor, slot: str) -> Recipe[tuple[HistoryStep, ...]]:
    """In short turns: other steps come between them, and only one more of them once the order to follow is there."""
    for _ in range(_LOOKS):
        try:
            history = yield from asking.await_successor(
                successor.upstream, successor.timeline, slot, _LOOK_WITHIN_MS
            )
        except StepFailed:
            break
        if history:
            return history
    return ()
