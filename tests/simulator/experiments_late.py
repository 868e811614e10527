"""Experiments in which a checkpointer acts on a reload very late (E7): whether backends wait at all is its flag.

What must come of it is that nothing is acknowledged that the rule's voters lack (`RecordTruth.acknowledged`), and
that all goes on when the checkpointer has caught up. Rule of admission: settings that are seen late.
"""

from __future__ import annotations

from dataclasses import replace

from common.facts import PostgresState
from common.ids import MemberName
from common.rule import RuleKind
from tests.simulator.experiments import WHOLE_WITHIN_US, anew, apply, is_quiet, must
from tests.simulator.experiments_members import with_member
from tests.simulator.faults_clauses import load, receivers_stall_after_a_promotion
from tests.simulator.fleet import Fleet
from tests.simulator.model_network import CONTROL
from tests.simulator.scene import Fault, Scene

_LATE_US = 6_000_000


def late_checkpointer_at_a_promotion(s: Scene) -> None:
    """R5: the fence was there all along, so that the flag is set already when the rule takes its place."""
    if not is_quiet(s):
        return
    if s.dice.chance(500):
        _checkpointers_are_late(s.fleet, 4_000_000)
    receivers_stall_after_a_promotion(anew(s))
    s.fleet.world.run_until(s.fleet.world.now_us + 4_000_000)
    s.fleet.heal()
    must(s.fleet, s.fleet.whole, WHOLE_WITHIN_US, "not whole after a promotion with a late checkpointer (I5)")


def late_checkpointer_at_a_restart(s: Scene) -> None:
    """R5, R8: nobody can take over, so the primary starts again in place, with the rule from its first moment."""
    if not is_quiet(s):
        return
    fleet, world, now = s.fleet, s.fleet.world, anew(s)
    for other in (now.one, *now.others):
        now.cut(other, CONTROL, 20_000, 20_000)
        now.cut(other, now.primary, 20_000, 20_000)
    # Until no standby counts as one that answers any more, and before the rule goes to solo.
    slower_ms = 2 * (fleet.profile.beat_standby_every_ms - fleet.profile.beat_primary_every_ms)
    world.run_until(world.now_us + (fleet.profile.suspect_ceiling_ms + slower_ms + 50) * 1_000)
    record = fleet.record()
    if record is not None and all(rule.waits for rule in record.rules):
        restart_us = (fleet.profile.restart_in_place_after_ms + 2_500) * 1_000
        _checkpointers_are_late(fleet, restart_us + 500_000)
        fleet.kill_postmaster(now.primary)
        world.run_until(world.now_us + 500_000)
        now.cut(now.primary, CONTROL, 20_000, 20_000)  # it needs nobody's leave, and nobody changes its rule
        world.run_until(world.now_us + restart_us)
    fleet.heal()
    must(fleet, fleet.whole, WHOLE_WITHIN_US, "not whole after a restart with a late checkpointer (I5)")


def late_checkpointer_when_the_rule_comes_back(s: Scene) -> None:
    """R6 (2): from solo to a quorum; as soon as the record says so, the voters hang."""
    if not is_quiet(s):
        return
    fleet, world, now = s.fleet, s.fleet.world, anew(s)
    others, spec = (now.one, *now.others), fleet.spec
    aside = bool(now.others) and spec.k == 1 and s.dice.chance(500)
    if aside:  # one streams and does not count; those that count hang
        mine = spec.member(MemberName(now.one))
        assert mine is not None
        apply(fleet, with_member(spec, replace(mine, nofailover=True)))
        world.run_until(world.now_us + 1_500_000)
    for other in others:
        fleet.lose_host(other)
    world.run_until(world.now_us + (fleet.profile.voter_lost_ms + 2_500) * 1_000)

    def hang() -> None:
        for other in others:
            if fleet.postgres[other].state is PostgresState.STANDBY:
                fleet.postgres[other].stalled_until = world.now_us + 1_500_000
        load(s, 20)

    _checkpointers_are_late(fleet, 6_000_000)
    for server in fleet.postgres.values():
        server.slow_reload_us = 300_000
    fleet.once(lambda record: [r.kind for r in record.rules] == [RuleKind.QUORUM], hang)
    for other in others:
        fleet.restart_host(other)
        if aside and other != now.one:
            fleet.postgres[other].stalled_until = world.now_us + 3_000_000
    world.run_until(world.now_us + 6_000_000)
    apply(fleet, spec)
    fleet.heal()
    must(fleet, fleet.whole, WHOLE_WITHIN_US, "not whole after a rule change with a late checkpointer (I5)")


def _checkpointers_are_late(fleet: Fleet, for_us: int) -> None:
    until_us = fleet.world.now_us + min(for_us, _LATE_US)
    fleet.world.late_us += for_us
    for server in fleet.postgres.values():
        server.checkpointer_stalls_until = until_us


LATE: tuple[Fault, ...] = (
    late_checkpointer_at_a_promotion,
    late_checkpointer_at_a_restart,
    late_checkpointer_when_the_rule_comes_back,
)
