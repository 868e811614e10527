"""From the stored order to the recipe that fulfils it.

Pure. A recipe is level-triggered: begun anew from the facts after a restart, a failure, or a second.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from agents.core import asking
from agents.core.asking import Recipe
from agents.core.recipe_follow import follow
from agents.core.recipe_promote import promote
from agents.core.recipe_seal import seal
from agents.core.recipe_serve import serve
from agents.core.state import AgentState
from agents.core.steps import Tell, WriteMarker
from common.assignment import Assignment, Follow, Initialise, Promote, Seal, Serve, Wait
from common.facts import PostgresState
from common.profile import Profile


def begin(state: AgentState, profile: Profile) -> Recipe[None]:
    """The recipe for the stored assignment; nothing without one (R7: obeys nothing)."""
    assignment = state.assignment
    if assignment is None:
        yield from _wait(state)
        return
    match assignment.order:
        case Wait():
            yield from _wait(state)
        case Initialise():
            yield from _initialise(state)
        case Seal() as order:
            yield from seal(state, order, profile)
        case Promote() as order:
            yield from promote(state, order, profile)
        case Serve() as order:
            yield from serve(state, order, profile)
        case Follow() as order:
            yield from follow(state, assignment, order)
        case unknown:
            assert_never(unknown)


def supersedes(running: Assignment | None, new: Assignment) -> bool:
    """Whether the recipe of the running order must give way to the new one at the next step.

    A clone in progress is not thrown away because the record moved on to a next revision that asks for
    the same, nor is a stop that is under way begun anew; the recipe is, under the new version, when it has ended.
    """
    if running is None:
        return True
    if isinstance(running.order, Seal) and running.order == new.order:
        # Once for each epoch: the report is of the epoch, and stored under whatever version is obeyed by then.
        return running.version.epoch != new.version.epoch
    if isinstance(running.order, Follow) and isinstance(new.order, Follow):
        same_place = (running.order.upstream, running.order.timeline) == (
            new.order.upstream,
            new.order.timeline,
        )
        return not (same_place and running.version.epoch == new.version.epoch)
    if isinstance(running.order, Promote) and isinstance(new.order, Serve):
        # It makes the slots just then.
        return running.version.epoch != new.version.epoch or not serves_as_promoted(running.order, new.order)
    return not (isinstance(running.order, Initialise) and isinstance(new.order, Initialise))


def asks_the_same(before: Assignment | None, new: Assignment) -> bool:
    """Whether a member that has done all that `before` asked for need not look again at once, though the record moved on.

    Three members would, at each save of a failover, beside those that have something to do.
    """
    if before is None or before.version.epoch != new.version.epoch:
        return False
    if isinstance(before.order, Seal) and isinstance(new.order, Seal):
        return True  # sealed is sealed, cleanly or not
    if isinstance(before.order, Promote) and isinstance(new.order, Serve):
        return serves_as_promoted(before.order, new.order)
    if isinstance(before.order, Follow) and isinstance(new.order, Follow):
        # `awaited` says when, and never what.
        as_new = replace(before.order, awaited=new.order.awaited)
        return replace(before, version=new.version, order=as_new) == new
    return False


def serves_as_promoted(promoted: Promote, serve: Serve) -> bool:
    """All of it is done by the promotion, but for slots that nobody waits for, which it makes yet."""
    return serve == Serve(promoted.timeline, promoted.rule, slots=promoted.slots)


def _wait(state: AgentState) -> Recipe[None]:
    sight = yield from asking.look()
    if sight.belongs_to:
        yield Tell(error=f"the data directory is that of {sight.belongs_to}; nothing was done")
        return
    absent = sight.postgres in (PostgresState.ABSENT, PostgresState.HALF)
    yield Tell(rebuild_needed="there is no data directory yet" if absent else "")


def _initialise(state: AgentState) -> Recipe[None]:
    sight = yield from asking.look()
    if state.system_identifier and sight.system_identifier == state.system_identifier:
        if not sight.marker_matches:
            yield WriteMarker(state)
        return
    if sight.postgres is not PostgresState.ABSENT:
        yield Tell(error="told to initialise, but the data directory is not empty; nothing was done")
        return
    yield Tell(activity="initialising")
    identifier = yield from asking.initdb()
    state = yield from asking.store(system_identifier=identifier)
    yield WriteMarker(state)
    yield Tell()
