"""How a candidate becomes the primary of its epoch (protocol.md, R5, R8, R11).

Pure. A promotion is ordered to PostgreSQL once in an epoch; one that was cut short is reported, and
the leader goes on with another epoch (R4).
"""

from __future__ import annotations

from agents.core import asking
from agents.core.asking import Recipe
from agents.core.state import AgentState
from agents.core.steps import (
    EndClients,
    MakeSlots,
    Pause,
    PlantPlaceholders,
    RemoveHistories,
    Sight,
    StartStandby,
    StepFailed,
    Tell,
    WriteSettings,
)
from common.assignment import Promote
from common.facts import PostgresState, Promotion
from common.lsn import ZERO
from common.profile import Profile
from common.rule import FENCE

_LOOKS_AT_A_RULE = 2_000
_LOOK_EVERY_MS = 1
_LOOKS_AT_ONCE = 3
"""It mostly is in force by the second look, and a pause takes longer than another one."""
_OTHER_SLOTS_AFTER_MS = 100
"""Whom commits don't wait for comes later than that (recipe_follow)."""


def promote(state: AgentState, order: Promote, profile: Profile) -> Recipe[None]:
    epoch = state.obeyed.epoch
    sight = yield from asking.look()
    done = state.promotion
    if done is not None and done.epoch == epoch:
        yield from _after_the_promotion(state, order, sight)
        return
    if state.promotion_told == epoch:
        yield from _resume(state, order, profile, sight)
        return
    if state.seal is None or state.seal.epoch != epoch:
        yield Tell(promotion_failed="this member is not sealed for the epoch")
        return
    if state.seal.damaged:
        yield Tell(promotion_failed="its WAL is damaged")
        return
    refusal = yield from _prepare(state, order, sight, profile)
    if refusal:
        yield Tell(promotion_failed=refusal)
        return
    state = yield from asking.store(promotion_told=epoch, promotion_signalled=True)
    yield from _order_it(state, order, profile)


def _prepare(state: AgentState, order: Promote, sight: Sight, profile: Profile) -> Recipe[str]:
    """Everything that R11 asks for before the order is given; answers why it can't be, or nothing."""
    if sight.postgres is not PostgresState.STANDBY or sight.settings_rule != FENCE or sight.settings_upstream:
        if sight.postgres is not PostgresState.STANDBY:
            yield from asking.stop()
        yield WriteSettings(FENCE)
    if sight.postgres is not PostgresState.STANDBY:
        yield StartStandby()
    # After the start: the sealed position must still be there to be promoted with (R3). What was replayed is.
    replayed = yield from asking.await_replay(order.position.end_lsn, 0)
    if not replayed and not (yield from asking.reached(order.position)):
        return f"its WAL does not reach {order.position}, with which it was chosen"
    own = order.position.timeline
    above = yield from asking.list_histories(own)
    if any(file.timeline >= order.timeline for file in above):
        return f"a history file for timeline {order.timeline} or above is there already"
    real = [file for file in above if not file.placeholder]
    for file in real:
        if file.forks_off_lsn is not None and file.forks_off_lsn < order.position.end_lsn:
            return f"timeline {file.timeline} forks off at {file.forks_off_lsn}, below this member's end"
    if real:
        # The startup process remembers it as its target, and would write it as the parent.
        yield from asking.stop()
        yield RemoveHistories(tuple(sorted((file.timeline for file in real), reverse=True)))
        yield StartStandby()
        # A start removes trailing placeholders (R8): those below the real file, which is gone now, went too.
        above = yield from asking.list_histories(own)
    there = {file.timeline for file in above if file.placeholder}
    missing = tuple(t for t in range(order.timeline - 1, own, -1) if t not in there)
    if missing:
        yield PlantPlaceholders(parent=own, timelines=missing)
    if not replayed:
        yield EndClients()  # a query of theirs may hold replay up
    # Everything that the bounds were met with must be replayed before: a promotion ends recovery where the
    # startup process last looked, not where the WAL on disk ends.
    if not (yield from asking.await_replay(order.position.end_lsn, profile.promote_within_ms)):
        return f"replay did not reach {order.position.end_lsn} within {profile.promote_within_ms} ms"
    return ""


def _order_it(state: AgentState, order: Promote, profile: Profile) -> Recipe[None]:
    try:
        promoted = yield from asking.promote(profile.promote_within_ms)
    except StepFailed as failure:
        yield from asking.stop()
        yield from asking.store(promotion_signalled=False)
        yield Tell(promotion_failed=str(failure))
        return
    if promoted.timeline != order.timeline:
        yield from asking.stop()
        yield from asking.store(promotion_signalled=False)
        yield Tell(promotion_failed=f"PostgreSQL took timeline {promoted.timeline}, not {order.timeline}")
        return
    if promoted.switch_lsn < order.position.end_lsn:
        yield from asking.stop()
        yield from asking.store(promotion_signalled=False)
        yield Tell(promotion_failed=f"promoted at {promoted.switch_lsn}, below the position {order.position}")
        return
    # The rule is stored before it is put in force: a start as primary uses the stored one (R8).
    state = yield from asking.store(
        promotion=Promotion(state.obeyed.epoch, promoted.timeline, promoted.switch_lsn, ZERO),
        serving_rule=order.rule,
        serving_epoch=state.obeyed.epoch,
    )
    yield from _put_r_new_in_force(state, order)


def _put_r_new_in_force(state: AgentState, order: Promote) -> Recipe[None]:
    epoch = state.obeyed.epoch
    assert state.promotion is not None
    wanted = order.rule.synchronous_standby_names(epoch)
    # The door was closed before the promotion; a second try after it was opened must not close it again.
    yield WriteSettings(wanted, closed=None)
    for look in range(_LOOKS_AT_A_RULE):
        # A session that was there before sees it only after the postmaster, from which new ones inherit it; there
        # is no walsender yet that could act on an older one.
        if (yield from asking.see_rule(new_session=False)) == wanted:
            break
        if look >= _LOOKS_AT_ONCE:
            yield Pause(_LOOK_EVERY_MS)
    else:
        raise StepFailed(f"the rule {wanted!r} did not come into force")
    # Waiters are released by a reply, so something must be flushed (V10).
    first_commit_lsn = yield from asking.local_commit()
    assert state.promotion is not None
    done = state.promotion
    yield from asking.store(
        promotion=Promotion(done.epoch, done.timeline, done.switch_lsn, first_commit_lsn),
        promotion_signalled=False,
    )
    # The leader hears of it meanwhile: nobody attaches before it has told everybody (R5).
    yield from _make_slots(order, epoch)


def _make_slots(order: Promote, epoch: int) -> Recipe[None]:
    """Those that commits wait for come first in the order; each slot is some fsyncs, beside etcd's of STABLE."""
    first = order.slots[: order.rule.k]
    if first:
        yield MakeSlots(first, epoch)
    yield Tell()
    if first != order.slots:
        if first:
            yield Pause(_OTHER_SLOTS_AFTER_MS)
        yield MakeSlots(order.slots, epoch)


def _after_the_promotion(state: AgentState, order: Promote, sight: Sight) -> Recipe[None]:
    assert state.promotion is not None
    if sight.postgres is not PostgresState.PRIMARY:
        yield Tell(promotion_failed="PostgreSQL went down after the promotion")
        return
    if state.promotion.first_commit_lsn == ZERO:
        yield from _put_r_new_in_force(state, order)
    else:
        yield MakeSlots(order.slots, state.obeyed.epoch)


def _resume(state: AgentState, order: Promote, profile: Profile, sight: Sight) -> Recipe[None]:
    """It was told to promote in this epoch, and what came of it is not known."""
    running = sight.postgres in (PostgresState.STANDBY, PostgresState.PRIMARY)
    if state.promotion_signalled and running:
        # Only the agent was away: PostgreSQL was not restarted since, so this is the same promotion.
        yield from _order_it(state, order, profile)
        return
    yield Tell(promotion_failed="the promotion was cut short")
