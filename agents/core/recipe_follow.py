"""How a member attaches to the primary of its epoch (protocol.md, R9, R12, R13).

Pure. Nothing is attached before its end was compared with the upstream's history: PostgreSQL's own
check comes after the member has been counted (E1).
"""

from __future__ import annotations

from msgspec.structs import replace

from agents.core import asking
from agents.core.asking import Recipe
from agents.core.claim import claim_directory
from agents.core.lineage import ends_below_its_seal, is_damaged, misfit
from agents.core.lost import FORGOTTEN
from agents.core.recipe_seal import acts_as_primary
from agents.core.state import AgentState, flushed_as_primary
from agents.core.steps import (
    Clone,
    EndReceivers,
    MakeSlots,
    Pause,
    PlaceHistories,
    RemoveHistories,
    Rewind,
    Sight,
    StartStandby,
    StepFailed,
    Stream,
    Tell,
    Untouched,
    WriteMarker,
    WriteSettings,
)
from common.assignment import Assignment, Follow, Position
from common.facts import PostgresState
from common.ids import application_name, slot_name
from common.lsn import ZERO
from common.rule import FENCE

_RUNNING = (PostgresState.STANDBY, PostgresState.STARTING)
_AWAITED_FIRST_MS = 300
"""Commits wait for k voters to attach; whatever others do beside that takes the new primary's attention, and where hosts
share a machine its disk and processors too. So much later the others are there, should one of the k not come."""
_AWAITED_LOOK_FIRST_MS = 150
"""So much for their way to their streams, where a failover goes before. Not of one that has lost its state: what it
tells of a PostgreSQL that it stops next, for it can't know what that was told, would no longer be true then (seed 9326723).
"""
_RECEIVER_FIRST_MS = 50
"""It connects just then, and commits may wait for it."""

_REWINDS = 20
_REWOUND_AGAIN_MS = 3_000
"""A minute where the source refuses at once, two and a half where its host is silent. A new primary, or a new place of
this one, is a new order, which does not wait for this."""


def follow(state: AgentState, assignment: Assignment, order: Follow) -> Recipe[None]:
    epoch = assignment.version.epoch
    stream = Stream(
        order.upstream,
        application_name(assignment.member, assignment.number, epoch),
        slot_name(assignment.member, assignment.number, epoch),
        epoch,
    )
    if state.rebuilding:
        yield from _rebuild(state, assignment, order, state.rebuilding)
        return
    if not order.awaited and state.sealed_epoch == state.obeyed.epoch:
        yield Pause(_AWAITED_LOOK_FIRST_MS)
    sight = yield from asking.look()
    if sight.postgres in (PostgresState.ABSENT, PostgresState.HALF):
        if sight.system_identifier not in ("", assignment.system_identifier):
            yield Tell(
                error=f"the data directory is of another cluster: its system identifier is "
                f"{sight.system_identifier}, this cluster's is {assignment.system_identifier}; nothing was done"
            )
            return
        if sight.belongs_to:
            # A rewind of ours that was cut short looks the same, but is known by `rebuilding` (above).
            yield Tell(
                error=f"the data directory is that of {sight.belongs_to}, this is {state.cluster}/{state.member}; "
                "nothing was done: mount the right one, or empty it"
            )
            return
        if state.system_identifier and sight.postgres is PostgresState.ABSENT:
            yield from _directory_lost()
            return
        if order.rebuild is None:
            yield Tell(rebuild_needed="there is no data directory yet")
            return
        yield from _rebuild(state, assignment, order, "clone")
        return
    if not (yield from claim_directory(state, assignment, sight)):
        return
    if sight.settings_upstream == stream.application_name and not acts_as_primary(state, sight):
        yield from _attached(state, assignment, order, stream, sight)
        return
    if sight.postgres is PostgresState.STOPPED and not order.awaited and order.rebuild is None:
        yield Pause(_AWAITED_FIRST_MS)
    position, damaged = yield from _end_position(state, sight)
    if damaged:
        yield from asking.stop()  # it would tell the next one, too, how far this one had flushed
        yield from _go_on_as_another(state, "some of its WAL is lost: it goes on as a new incarnation")
        return
    why = misfit(position, order.timeline, order.history)
    if why:
        if order.rebuild is None or order.rebuild.position != position:
            yield Tell(rebuild_needed=why, end_of_wal=position)
            return
        common_ground = any(step.timeline <= position.timeline for step in order.history)
        yield from _rebuild(state, assignment, order, "rewind" if common_ground else "clone", position)
        return
    yield from _attach(order, stream, sight, position)


def _end_position(state: AgentState, sight: Sight) -> Recipe[tuple[Position, bool]]:
    """Where this member's log ends, standing still: nothing may be added while it is compared; and whether WAL is
    missing that it once told to be flushed (R1)."""
    sealed = state.seal is not None and state.seal.epoch == state.obeyed.epoch
    if sealed and not sight.settings_upstream and sight.postgres is not PostgresState.PRIMARY:
        assert state.seal is not None
        return Position(state.seal.timeline, state.seal.end_lsn), state.seal.damaged
    if acts_as_primary(state, sight):
        yield from asking.stop()
        if state.promotion_signalled:
            yield from asking.store(promotion_signalled=False)
        yield WriteSettings(FENCE)
    else:
        yield WriteSettings(FENCE)
        if sight.postgres in _RUNNING:
            yield EndReceivers()
        if sight.postgres in (PostgresState.STARTING, PostgresState.DYING):
            yield from asking.stop()
    end = yield from asking.measure_end()
    # One that was not sealed since: its log would grow over the gap, and nobody would know of it.
    known = (end.flushed_lsn, flushed_as_primary(state))
    damaged = state.missing_below_lsn is not None or ends_below_its_seal(end, state.sealed_at)
    damaged = damaged or any(is_damaged(end, flushed) for flushed in known)
    return Position(end.timeline, end.end_lsn), damaged


def _attach(order: Follow, stream: Stream, sight: Sight, position: Position) -> Recipe[None]:
    if not order.awaited and sight.postgres not in (PostgresState.STANDBY, PostgresState.STOPPED):
        yield Pause(_AWAITED_FIRST_MS)
    stopped = yield from _forget_siblings(order, position)
    yield PlaceHistories(order.timeline, order.history)
    yield WriteSettings(FENCE, stream, closed=False)
    if sight.postgres is PostgresState.STANDBY and not stopped:
        yield Pause(_RECEIVER_FIRST_MS)
    now = yield from asking.look()
    if now.postgres is not PostgresState.STANDBY:
        if now.postgres is not PostgresState.STOPPED:
            yield from asking.stop()
        yield StartStandby()
    yield from _keep_no_slots(stream)
    yield Tell()


def _forget_siblings(order: Follow, position: Position) -> Recipe[bool]:
    """Answers whether it had to be stopped.

    It had attached to a primary of which it got no record, and which was left for another one of the same parent.
    The startup process has that timeline as its target, asks for it for ever, and takes no sibling instead (E30)."""
    ours = {order.timeline, *(step.timeline for step in order.history)}
    above = yield from asking.list_histories(position.timeline)
    foreign = [file.timeline for file in above if not file.placeholder and file.timeline not in ours]
    if foreign:
        yield from asking.stop()
        yield RemoveHistories(tuple(sorted(foreign, reverse=True)))
    return bool(foreign)


def _attached(
    state: AgentState, assignment: Assignment, order: Follow, stream: Stream, sight: Sight
) -> Recipe[None]:
    if sight.settings_address != f"{order.upstream.host}:{order.upstream.port}":
        # It is the same primary in the same epoch: the next receiver looks for it there, this one may go on.
        yield WriteSettings(FENCE, stream, closed=False)
    position = yield from _left_behind(order, sight)
    if position is None:
        yield from _stay_attached(stream, sight)
    elif order.rebuild is None or order.rebuild.position != position:
        why = f"needs WAL from {position.end_lsn} on, and {order.upstream.member} has it from {order.upstream_oldest_lsn} on"
        yield Tell(rebuild_needed=why, end_of_wal=position)
    else:
        yield from _rebuild(state, assignment, order, "clone", position)


def _left_behind(order: Follow, sight: Sight) -> Recipe[Position | None]:
    """Where its log ends, standing still, if that is below all WAL that the upstream has: it would ask for ever for what
    was removed. It fits, so the upstream has had all of it; the leader compared what was reported, this is the end itself."""
    below_lsn = order.upstream_oldest_lsn
    if sight.postgres is PostgresState.STANDBY and (sight.flushed_lsn or ZERO) < below_lsn:
        end = yield from asking.measure_end()
        if end.end_lsn >= below_lsn:
            return None
        yield from asking.stop()
    elif sight.postgres is not PostgresState.STOPPED or not below_lsn:
        return None
    end = yield from asking.measure_end()
    return Position(end.timeline, end.end_lsn) if end.end_lsn < below_lsn else None


def _stay_attached(stream: Stream, sight: Sight) -> Recipe[None]:
    if sight.postgres in (PostgresState.STOPPED, PostgresState.DYING):
        if sight.postgres is PostgresState.DYING:
            yield from asking.stop()
        yield StartStandby()
    if sight.postgres is not PostgresState.STARTING:
        yield from _keep_no_slots(stream)
    yield Tell()


def _keep_no_slots(stream: Stream) -> Recipe[None]:
    """Those that it made for others as a primary would hold back WAL here and, by hot_standby_feedback, the
    vacuum of the primary; a rewind or a clone leaves none."""
    yield MakeSlots((), stream.epoch)


def _rebuild(
    state: AgentState, assignment: Assignment, order: Follow, how: str, lost: Position | None = None
) -> Recipe[None]:
    """R13: cut short anywhere, the member can't seal; finished, it is another incarnation."""
    yield from asking.stop()
    state = yield from asking.store(
        rebuilding=how,
        destroyed=lost or state.destroyed,
        system_identifier=state.system_identifier or assignment.system_identifier,
    )
    yield WriteSettings(FENCE)
    if how == "rewind":
        try:
            yield from _rewind(order)
        except StepFailed as failure:
            yield Tell(activity=f"rewinding failed ({failure}); cloning from {order.upstream.member}")
            how = "clone"
            yield from asking.store(rebuilding=how)
    if how == "clone":
        yield Tell(activity=f"cloning from {order.upstream.member}")
        yield Clone(order.upstream)
    yield from _go_on_as_another(state, "rebuilt; waits for its incarnation to be adopted")


def _rewind(order: Follow) -> Recipe[None]:
    """A clone of a large cluster takes hours, and wants the same source: one that is away is waited for first."""
    source = order.upstream.member
    yield Tell(activity=f"rewinding to {source}")
    for again in range(1, _REWINDS):
        try:
            yield Rewind(order.upstream)
        except Untouched as failure:
            yield Tell(
                activity=f"rewinding to {source} failed with nothing touched ({failure}); "
                f"tried again, {again} of {_REWINDS - 1}"
            )
            yield Pause(_REWOUND_AGAIN_MS)
        else:
            return
    yield Rewind(order.upstream)


def _directory_lost() -> Recipe[None]:
    """Under a running agent; at its start agents/core/lost.py sees it (R7, R13). Whatever still runs over the files
    that are gone would go on acknowledging under the old number, so it ends first."""
    yield from asking.stop()
    incarnation = yield from asking.draw_incarnation()
    yield from asking.store(incarnation=incarnation, system_identifier="", **FORGOTTEN)
    yield Tell(activity="the data directory was lost: it goes on as a new incarnation")


def _go_on_as_another(state: AgentState, activity: str) -> Recipe[None]:
    """Who forgets does not vote (R13): what this one promised is no promise of the next one."""
    incarnation = yield from asking.draw_incarnation()
    # The marker first: a copy brings the source's, and cut short before `Store` it is all done again.
    yield WriteMarker(replace(state, incarnation=incarnation))
    yield from asking.store(incarnation=incarnation, rebuilding="", **FORGOTTEN)
    yield Tell(activity=activity)
