"""Experiments in which a checkpointer acts on a reload very late (E7): whether backends wait at all is its flag.

What must come of it is that nothing is acknowledged that the rule's voters lack (`RecordTruth.acknowledged`), and
that all goes on when the checkpointer has caught up. Rule of admission: settings that are seen late.
"""

from __future__ import annotations

from dataclasses import replace

from common.facts import PostgresState
from common.ids import MemberName
from common.rule import RuleKind
from tests.simulator.experiments import _WHOLE_WITHIN_US, _apply, _is_quiet, _must, _with
from tests.simulator.faults import Fault, Scene, scene
from tests.simulator.faults_aimed import load, receivers_stall_after_a_promotion

_LATE_US = 3_000_000


def at_a_promotion(s: Scene) -> None:
    """R5: the fence was there all along, so that the flag is set already when the rule takes its place."""
    if not _is_quiet(s):
        return
    fleet, world = s.fleet, s.fleet.world
    world.slow_checkpointer_us = world.dice.choice((0, _LATE_US))
    receivers_stall_after_a_promotion(scene(fleet))
    world.run_until(world.now_us + 4_000_000)
    world.slow_checkpointer_us = 0
    _must(fleet, fleet.whole, _WHOLE_WITHIN_US, "not whole after a promotion with a late checkpointer (I5)")


def at_a_restart(s: Scene) -> None:
    """R5, R8: nobody can take over, so the primary starts again in place, with the rule from its first moment."""
    if not _is_quiet(s):
        return
    fleet, world, now = s.fleet, s.fleet.world, scene(s.fleet)
    for other in (now.one, *now.others):
        fleet.cut.update({frozenset((other, "control")), frozenset((other, now.primary))})
    # Until no standby counts as one that answers any more, and before the rule goes to solo.
    slower_ms = 2 * (fleet.profile.beat_standby_every_ms - fleet.profile.beat_primary_every_ms)
    world.run_until(world.now_us + (fleet.profile.suspect_ceiling_ms + slower_ms + 50) * 1_000)
    record = fleet.record()
    if record is None or not all(rule.waits for rule in record.rules):
        fleet.heal()
        return
    world.slow_checkpointer_us = _LATE_US
    fleet.kill_postmaster(now.primary)
    world.run_until(world.now_us + 500_000)
    fleet.cut.add(frozenset((now.primary, "control")))  # it needs nobody's leave, and nobody changes its rule
    world.run_until(world.now_us + (fleet.profile.restart_in_place_after_ms + 2_500) * 1_000)
    world.slow_checkpointer_us = 0
    fleet.heal()
    _must(fleet, fleet.whole, _WHOLE_WITHIN_US, "not whole after a restart with a late checkpointer (I5)")


def when_the_rule_comes_back(s: Scene) -> None:
    """R6 (2): from solo to a quorum; as soon as the record says so, the voters hang."""
    if not _is_quiet(s):
        return
    fleet, world, now = s.fleet, s.fleet.world, scene(s.fleet)
    others, spec = (now.one, *now.others), fleet.spec
    aside = bool(now.others) and spec.k == 1 and world.chance(500)
    if aside:  # one streams and does not count; those that count hang
        mine = spec.member(MemberName(now.one))
        assert mine is not None
        _apply(fleet, _with(spec, replace(mine, nofailover=True)))
        world.run_until(world.now_us + 1_500_000)
    for other in others:
        fleet.lose_host(other)
    world.run_until(world.now_us + (fleet.profile.voter_lost_ms + 2_500) * 1_000)

    def hang() -> None:
        for other in others:
            if fleet.postgres[other].state is PostgresState.STANDBY:
                fleet.postgres[other].stalled_until = world.now_us + 1_500_000
        load(scene(fleet), 20)

    world.slow_checkpointer_us, world.slow_reload_us = _LATE_US, 300_000
    fleet.once(lambda record: [r.kind for r in record.rules] == [RuleKind.QUORUM], hang)
    for other in others:
        fleet.restart_host(other)
        if aside and other != now.one:
            fleet.postgres[other].stalled_until = world.now_us + 3_000_000
    world.run_until(world.now_us + 6_000_000)
    world.slow_checkpointer_us = world.slow_reload_us = 0
    _apply(fleet, spec)
    _must(fleet, fleet.whole, _WHOLE_WITHIN_US, "not whole after a rule change with a late checkpointer (I5)")


LATE: tuple[Fault, ...] = (
    at_a_restart,
    at_a_promotion,
    when_the_rule_comes_back,
    at_a_promotion,
    at_a_restart,
    when_the_rule_comes_back,
)
