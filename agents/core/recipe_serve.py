"""How the primary of an epoch serves, and changes its rule (protocol.md, R5, R6, R8).

Pure. Letting clients in is not here: the prober opens the door when `opening.may_open` says so.
"""

from __future__ import annotations

from agents.core import asking
from agents.core.asking import Recipe
from agents.core.lineage import ends_below_its_seal, is_damaged
from agents.core.state import NOWHERE, AgentState, flushed_as_primary
from agents.core.steps import (
    ConfirmRule,
    EndWalsender,
    MakeSlots,
    Pause,
    Sight,
    StartPrimary,
    StepFailed,
    Tell,
    Walsender,
    WriteSettings,
)
from common.assignment import Serve
from common.facts import PostgresState, RuleConfirmation
from common.ids import application_name
from common.lsn import ZERO, Lsn
from common.profile import Profile
from common.rule import FENCE, Rule

_LOOKS = 400
_LOOK_EVERY_MS = 5
_BARRIER_WITHIN_MS = 30_000
"""Then all of it is done anew, which ends each walsender once more: where packets are lost a stream takes seconds to
come back, and one that is ended every few seconds never passes the barrier. A newer order cuts the wait short."""
_BARRIER_SOON_MS = 1_000
_LOOK_LATER_EVERY_MS = 50


def serve(state: AgentState, order: Serve, profile: Profile) -> Recipe[None]:
    epoch = state.obeyed.epoch
    sight = yield from asking.look()
    if sight.postgres is PostgresState.STANDBY:
        yield Tell(error="told to serve, but PostgreSQL is in recovery: it was never promoted here")
        return
    if sight.postgres is not PostgresState.PRIMARY:
        sight = yield from _start(state, order, profile, sight)
    if sight.timeline != order.timeline:
        yield from asking.stop()
        yield Tell(
            error=f"PostgreSQL is on timeline {sight.timeline}, the record says {order.timeline}; stopped"
        )
        return
    yield MakeSlots(order.slots, epoch)
    if order.target is None:
        if state.serving_rule != order.rule or state.serving_epoch != epoch:
            yield from _change_to(state, order.rule)
        elif sight.settings_rule != order.rule.synchronous_standby_names(epoch):
            yield WriteSettings(order.rule.synchronous_standby_names(epoch), closed=None)
        yield Tell()
        return
    known = state.confirmation
    if known is not None and known.version == state.obeyed:
        yield ConfirmRule(known.barrier_lsn)
        return
    barrier_lsn = yield from _change_to(state, order.target)
    yield from asking.store(confirmation=RuleConfirmation(state.obeyed, barrier_lsn))
    yield ConfirmRule(barrier_lsn)


def _start(state: AgentState, order: Serve, profile: Profile, sight: Sight) -> Recipe[Sight]:
    """R8: only under the assignment last stored (this one), closed, with the rule last stored."""
    if sight.postgres is PostgresState.DYING:
        yield from asking.stop()
    first_start = state.serving_rule is None or state.serving_epoch != state.obeyed.epoch
    if sight.postgres is PostgresState.STARTING and not first_start:
        # It runs, and only gave no answer in time: wait for it, and leave the door and the deadline alone.
        yield StartPrimary()
        return (yield from asking.look())
    if first_start:
        rule = order.rule
    else:
        assert state.serving_rule is not None
        rule = state.serving_rule
        if rule.waits:
            # Another member is about to take over, if one can: starting at once would only be in its way.
            yield Tell(activity="crashed; starts again in place unless it is replaced")
            yield Pause(profile.restart_in_place_after_ms)
        yield from _is_whole(state)
    yield from asking.store(serving_rule=rule, serving_epoch=state.obeyed.epoch)
    yield WriteSettings(rule.synchronous_standby_names(state.obeyed.epoch))
    yield StartPrimary()
    return (yield from asking.look())


def _is_whole(state: AgentState) -> Recipe[None]:
    """R8: what was flushed must be there. PostgreSQL would start below it without a word, on the same timeline."""
    flushed_lsn = flushed_as_primary(state)
    if flushed_lsn is None and state.sealed_at == NOWHERE:
        return
    end = yield from asking.measure_end()
    if ends_below_its_seal(end, state.sealed_at) or is_damaged(end, flushed_lsn):
        flushed_lsn = max(flushed_lsn or ZERO, state.sealed_at.end_lsn)
        raise StepFailed(
            f"not started: its WAL ends at {end.end_lsn}, and {flushed_lsn} was flushed. The disk has lost what may "
            "have been acknowledged: another member takes over, or a person decides"
        )


def _change_to(state: AgentState, rule: Rule) -> Recipe[Lsn]:
    """R6 (2) and (3); answers L."""
    epoch = state.obeyed.epoch
    wanted = rule.synchronous_standby_names(epoch)
    waited_before = state.serving_rule is not None and state.serving_rule.waits
    if rule.waits and not waited_before:
        # Whether backends wait at all is a flag that only the checkpointer sets, late (E7).
        yield WriteSettings(FENCE, closed=None)
        yield from _in_force(FENCE)
        for _ in range(_LOOKS):
            if (yield from asking.see_commit_wait(50)):
                break
        else:
            raise StepFailed("commits do not wait under the fence")
    state = yield from asking.store(serving_rule=rule, serving_epoch=epoch)
    yield WriteSettings(wanted, closed=None)
    yield from _in_force(wanted)
    yield from _renew_walsenders(rule, epoch)
    barrier_lsn = yield from asking.insert_position()
    yield from asking.local_commit()  # flushes what lies below L, so that it is sent now
    if rule.waits:
        yield from _pass_barrier(rule, epoch, barrier_lsn)
    return barrier_lsn


def _in_force(wanted: str) -> Recipe[None]:
    for _ in range(_LOOKS):
        if (yield from asking.see_rule()) == wanted:
            return
        yield Pause(_LOOK_EVERY_MS)
    raise StepFailed(f"the rule {wanted!r} did not come into force")


def _renew_walsenders(rule: Rule, epoch: int) -> Recipe[None]:
    """End each walsender and see it gone (a walsender mixes its own k with the others' V, E2).

    One after the other, each seen back before the next one goes, so that commits keep being counted;
    one that does not come back in time does not hold up the others: what matters is that it is gone.
    """
    for sender in (yield from asking.list_walsenders()):
        yield EndWalsender(sender.pid)
        for _ in range(_LOOKS):
            now = yield from asking.list_walsenders()
            if all(other.pid != sender.pid for other in now) and _is_back(sender, now, _):
                break
            yield Pause(_LOOK_EVERY_MS)
        else:
            raise StepFailed(f"the walsender of {sender.application_name} did not end")


def _is_back(old: Walsender, now: tuple[Walsender, ...], looks: int) -> bool:
    patience = _LOOKS // 4
    return (
        looks >= patience
        or not old.streaming
        or any(other.application_name == old.application_name and other.streaming for other in now)
    )


def _pass_barrier(rule: Rule, epoch: int, barrier_lsn: Lsn) -> Recipe[None]:
    names = {application_name(voter.member, voter.number, epoch) for voter in rule.voters}
    waited_ms = 0
    while waited_ms < _BARRIER_WITHIN_MS:
        senders = yield from asking.list_walsenders()
        if sum(s.application_name in names and s.flushed_lsn >= barrier_lsn for s in senders) >= rule.k:
            return
        pause_ms = _LOOK_EVERY_MS if waited_ms < _BARRIER_SOON_MS else _LOOK_LATER_EVERY_MS
        yield Pause(pause_ms)
        waited_ms += pause_ms
    raise StepFailed(f"{rule.k} of {rule} did not flush {barrier_lsn} in time")
