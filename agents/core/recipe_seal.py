"""How a member seals (protocol.md, R1).

Pure. The epoch was made durable when the order was obeyed; everything here can be cut off at any
step and begun anew.
"""

from __future__ import annotations

from contextlib import suppress

from agents.core import asking
from agents.core.asking import Recipe
from agents.core.claim import claim_directory
from agents.core.lineage import ends_below_its_seal, is_damaged
from agents.core.state import AgentState, flushed_as_primary
from agents.core.steps import (
    Checkpoint,
    EndOfWal,
    EndReceivers,
    Pause,
    Sight,
    StepFailed,
    Tell,
    WriteSettings,
)
from common.assignment import Seal
from common.facts import PostgresState, SealReport
from common.lsn import ZERO, Lsn
from common.profile import Profile
from common.rule import FENCE

_NOTHING_THERE = (PostgresState.ABSENT, PostgresState.HALF)
_RUNNING = (PostgresState.STARTING, PostgresState.STANDBY, PostgresState.PRIMARY, PostgresState.DYING)

STANDBYS_FIRST_MS = 300
"""A primary that has crashed acknowledges nothing, and its backends end by themselves, but for one that computes. Its seal is
wanted only where its standbys don't resolve its prior (R2), and takes some twenty milliseconds of a processor (five of them
the look through all processes), which are theirs first where hosts share a machine. Where it is wanted, so much later; one
that served alone is wanted always."""


def seal(state: AgentState, order: Seal, profile: Profile) -> Recipe[None]:
    if state.rebuilding:
        yield Tell(error=f"can't seal: a {state.rebuilding} was cut short, its data directory is unusable")
        return
    known = state.seal
    # Of this epoch: a report that was finished while the next order came is stored under that one's version.
    is_sealed = known is not None and (known.epoch, known.incarnation) == (
        state.obeyed.epoch,
        state.incarnation,
    )
    may_wait = not order.drain and not is_sealed and not _serves_alone(state)
    waited = may_wait and (yield from asking.see_crash())
    if waited:
        yield Pause(STANDBYS_FIRST_MS)
    sight = yield from asking.look()
    if sight.postgres in _NOTHING_THERE:
        owner = f"the data directory is that of {sight.belongs_to}" if sight.belongs_to else ""
        yield Tell(error=f"can't seal: {owner or 'there is no data directory'}")
        return
    assert state.assignment is not None
    if not (yield from claim_directory(state, state.assignment, sight)):
        return
    if is_sealed:
        yield from _stay_sealed(sight)
        return
    if acts_as_primary(state, sight):
        if sight.postgres is PostgresState.STOPPED and may_wait and not waited:
            yield Pause(STANDBYS_FIRST_MS)  # it died while no agent looked on
        yield from _seal_primary(state, sight, order, profile)
    else:
        yield from _seal_standby(state, sight)


def _serves_alone(state: AgentState) -> bool:
    return state.serving_rule is not None and not state.serving_rule.waits


def acts_as_primary(state: AgentState, sight: Sight) -> bool:
    """A primary, or one that was told to promote since its PostgreSQL started: sealing is stopping it."""
    if sight.postgres is PostgresState.PRIMARY or state.promotion_signalled:
        return True
    return sight.was_primary and sight.postgres in (
        PostgresState.STOPPED,
        PostgresState.DYING,
        PostgresState.STARTING,
    )


def _seal_primary(state: AgentState, sight: Sight, order: Seal, profile: Profile) -> Recipe[None]:
    clean_within_ms = profile.drain_within_ms if order.drain else 0
    if order.drain and sight.postgres is PostgresState.PRIMARY:
        # Together they keep to the time that the leader grants.
        clean_within_ms = profile.drain_within_ms - profile.drain_within_ms // 2
        with suppress(StepFailed):  # one that fails or takes too long is no reason not to stop
            yield Checkpoint(profile.drain_within_ms // 2)
    stopped = yield from asking.stop(clean=order.drain, clean_within_ms=clean_within_ms)
    if state.promotion_signalled or sight.postgres is PostgresState.PRIMARY:
        # Also for the newest mark of what it had flushed, which may have been stored while it was stopped.
        state = yield from asking.store(promotion_signalled=False)
    yield WriteSettings(FENCE)
    end = yield from asking.measure_end()
    yield from _report(state, sight, end, flushed_as_primary(state), was_primary=True, clean=stopped.clean)


def _seal_standby(state: AgentState, sight: Sight) -> Recipe[None]:
    # The service file and the settings first: a receiver that is started from now on finds nothing.
    yield WriteSettings(FENCE)
    running = sight.postgres in _RUNNING
    if running:
        yield EndReceivers()
    if sight.postgres in (PostgresState.STARTING, PostgresState.DYING):
        # It takes no SQL, so its end can be known only once it stands still.
        yield from asking.stop()
    end = yield from asking.measure_end()
    yield from _report(state, sight, end, end.flushed_lsn)


def _report(
    state: AgentState,
    sight: Sight,
    end: EndOfWal,
    flushed_lsn: Lsn | None,
    *,
    was_primary: bool = False,
    clean: bool = False,
) -> Recipe[None]:
    if state.missing_below_lsn is not None:
        flushed_lsn = max(flushed_lsn or ZERO, state.missing_below_lsn)
    below = ends_below_its_seal(end, state.sealed_at)
    if below:
        # A receiver that began again where the log is damaged has overwritten what tells of it (seed 9703968).
        flushed_lsn = max(flushed_lsn or ZERO, state.sealed_at.end_lsn)
    damaged = below or state.missing_below_lsn is not None or is_damaged(end, flushed_lsn)
    # What can still be read may end before the last fork; what was flushed did not (a lower timeline would lower the bound).
    timeline = max(end.timeline, sight.timeline, state.sealed_at.timeline) if damaged else end.timeline
    report = SealReport(
        epoch=state.obeyed.epoch,
        incarnation=state.incarnation,
        timeline=timeline,
        end_lsn=end.end_lsn,
        flushed_lsn=flushed_lsn,
        damaged=damaged,
        was_primary=was_primary,
        clean=clean,
    )
    yield from asking.store(
        seal=report,
        sealed_at=max(state.sealed_at, report.position),
        missing_below_lsn=flushed_lsn if damaged else None,
    )


def _stay_sealed(sight: Sight) -> Recipe[None]:
    """The report stands; what runs must agree with it, also after a restart of the agent."""
    if sight.postgres is PostgresState.PRIMARY or (
        sight.was_primary and sight.postgres is PostgresState.STARTING
    ):
        # Not by us (R8). Under the fence it acknowledges nothing, but clients would read what is old.
        yield from asking.stop()
        yield Tell(
            error="PostgreSQL was started by somebody else, while this member is sealed; it was stopped"
        )
    if sight.settings_upstream or sight.settings_rule != FENCE:
        yield WriteSettings(FENCE)
        if sight.postgres in _RUNNING:
            yield EndReceivers()
