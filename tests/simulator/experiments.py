"""Experiments: everything heals, one thing is done to a whole cluster, and what must come of it is known.

That is how a clause about what *must* happen is tested (docs/clauses.md); a swarm that ends every round by healing
everything sees only what must not. Each run of the swarm begins with one of them; each names its clauses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from common.ids import MemberName
from orchestrator.core.reasons import Reason
from orchestrator.core.record import Phase, Record
from orchestrator.core.spec import STRICT, ClusterSpec
from tests.simulator.experiments_members import joins_while_a_host_is_lost, with_member
from tests.simulator.faults_clauses import agent_is_away_over_a_slow_promotion, load, slow_promotions
from tests.simulator.fleet import Fleet
from tests.simulator.model_parts import RECORD
from tests.simulator.scene import Fault, Scene, scene
from tests.simulator.violation import Violation

_ANOTHER_ETCD = 78
_QUIET_AFTER_US = 8_000_000  # by then everything has happened that the faults before had in store
WHOLE_WITHIN_US = 60_000_000


def is_quiet(s: Scene) -> bool:
    """Everything heals, and what was in store has happened; False where the cluster can't be whole."""
    fleet, world = s.fleet, s.fleet.world
    if not world.counts.get("faults") and fleet.whole():
        return True  # just born
    fleet.heal()
    world.run_until(world.now_us + _QUIET_AFTER_US)
    fleet.heal()
    return world.run_until(world.now_us + 20_000_000, fleet.whole)


def anew(s: Scene) -> Scene:
    """Who is who by now."""
    return replace(scene(s.fleet, s.dice), lost=s.lost)


def must(fleet: Fleet, happen: Callable[[], bool], within_us: int, what: str) -> None:
    if not fleet.world.run_until(fleet.world.now_us + within_us, happen):
        status = fleet.control.engine.status(fleet.control.now)
        raise Violation(f"{what}; {status.phase} {[(r.reason, r.text) for r in status.reasons]}")


def _says(fleet: Fleet, reason: Reason) -> bool:
    return any(line.reason == reason for line in fleet.control.engine.status(fleet.control.now).reasons)


def _serves_without(fleet: Fleet, lost: str) -> Callable[[], bool]:
    rows = fleet.checkers.client_rows

    def does() -> bool:
        record = fleet.record() or _no_record()
        settled = record.phase is Phase.STABLE and not record.prior and record.target is None
        return settled and record.primary != lost and fleet.serving() and fleet.checkers.client_rows > rows

    return does


def one_is_gone_for_good(s: Scene) -> None:
    """I5: from a whole cluster everything goes on without any one member, whatever was under way."""
    if not is_quiet(s):
        return
    fleet, world, now = s.fleet, s.fleet.world, anew(s)
    victim = now.anybody
    begun = 2 if not now.others and s.dice.chance(500) else s.dice.draw(4)
    if begun == 0:
        fleet.switchover(None)
        world.run_until(world.now_us + s.dice.between(0, 300_000))
    elif begun == 1:
        fleet.replace_leader()
    elif begun == 2:
        # The rule is about to grow by the one that will be lost.
        fleet.lose_host(now.one)
        world.run_until(world.now_us + (fleet.profile.voter_lost_ms + 500) * 1_000)
        fleet.restart_host(now.one)
        victim = now.one
        world.run_until(world.now_us + 3_000_000, lambda: len((fleet.record() or _no_record()).rules) == 2)
    fleet.lose_host(victim)
    world.run_until(world.now_us + 1_000_000)
    serves = _serves_without(fleet, victim)

    def serves_or_is_strict() -> bool:
        """The last voter of a strict cluster is waited for; a rule that is solo on who is gone, too (I5). It is said."""
        is_strict = fleet.spec.when_last_voter_lost == STRICT and _says(fleet, Reason.STRICT_WAITS)
        if (
            serves() or is_strict or victim not in fleet.down
        ):  # brought back by another fault: seed 1320003966
            return True
        at = fleet.record() or _no_record()
        return at.primary == victim and not at.rule.waits and _says(fleet, Reason.SEALS_OUT_OF_REACH)

    must(fleet, serves_or_is_strict, WHOLE_WITHIN_US, f"I5: {victim} is gone, and nobody serves")
    world.count("gone for good")
    fleet.restart_host(victim)


def two_are_gone_one_after_the_other(s: Scene) -> None:
    """R2 (c), R4: a primary is gone, and the next one as soon as it is one. The third serves, if it has what the
    bounds ask for, that were recorded with the second."""
    if len(s.fleet.agents) != 3 or not is_quiet(s):
        return
    fleet, world, gone = s.fleet, s.fleet.world, [anew(s).primary]

    def lose_the_next() -> None:
        gone.append(anew(s).primary)
        fleet.lose_host(gone[1])

    # Not in solo, where another fault gave the other one up (seed 1300024793).
    fleet.once(lambda at: at.phase is Phase.STABLE and at.epoch > epoch and at.rule.waits, lose_the_next)
    epoch = (fleet.record() or _no_record()).epoch
    fleet.lose_host(gone[0])
    world.run_until(world.now_us + 8_000_000)
    if len(gone) < 2:
        return
    rows = fleet.checkers.client_rows

    def serves_or_may_not() -> bool:
        at = fleet.record() or _no_record()
        third = next(m for m in at.members if m.name not in gone)
        seal = at.seal_of(third.name)
        if seal is not None and any(p.bound is not None and p.bound > seal.position for p in at.prior):
            return True
        return at.primary == third.name and fleet.serving() and fleet.checkers.client_rows > rows

    must(fleet, serves_or_may_not, WHOLE_WITHIN_US, f"R2: {gone} are gone, and the third may serve")
    world.count("third ones that serve")
    for name in gone:
        fleet.restart_host(name)


def handover_to_nobody(s: Scene) -> None:
    """R1: a primary that is gone before it stopped holds up a switchover no longer than its time."""
    if not is_quiet(s):
        return
    fleet, now = s.fleet, anew(s)
    fleet.once(lambda record: record.handover is not None, lambda: fleet.lose_host(now.primary))
    fleet.switchover(None)
    fleet.world.run_until(fleet.world.now_us + 1_000_000)
    must(fleet, _serves_without(fleet, now.primary), WHOLE_WITHIN_US, "R1: nobody takes over")
    fleet.restart_host(now.primary)


def switchover_is_clean(s: Scene) -> None:
    """R1, "Switchover": the one meant takes over, and the old primary follows it as it is."""
    if not is_quiet(s):
        return
    fleet, now, before = s.fleet, anew(s), s.fleet.record() or _no_record()
    meant, damaged = fleet.spec.member(MemberName(now.one)), fleet.postgres[now.one].damaged_from is not None
    if meant is None or meant.nofailover or damaged:  # by another fault (seeds 840000300, 920002410)
        return
    fleet.once(lambda record: record.handover is not None, lambda: load(s, 1_200))
    fleet.switchover(now.one)

    def done(refused_before: int = fleet.refused_count) -> bool:
        record = fleet.record()
        went_on = record is not None and record.epoch > before.epoch and fleet.whole()
        return went_on or fleet.refused_count > refused_before  # by another fault (seed 1060004406)

    must(fleet, done, WHOLE_WITHIN_US, f"the switchover to {now.one} did not end")
    after = fleet.record()
    assert after is not None
    if after.epoch == before.epoch + 1 and after.primary != now.one:
        raise Violation(f"a switchover to {now.one}, which streams, ended with {after.primary}")
    old, new = before.the(MemberName(now.primary)), after.the(MemberName(now.primary))
    if after.epoch == before.epoch + 1 and old.number != new.number:
        raise Violation(f"after a clean switchover {now.primary} was rebuilt: {old.number} to {new.number}")
    fleet.world.count("clean switchovers")


def disk_of_a_standby_is_damaged(s: Scene) -> None:
    """R1, V6, V7: only `one` keeps up, and its disk loses records that it had flushed; its walreceiver dies of
    it. It knows how far it had flushed, so nothing may be promoted that lacks them."""
    if not s.others or not is_quiet(s):
        return
    fleet, world, now = s.fleet, s.fleet.world, anew(s)
    for other in now.others:
        fleet.postgres[other].stalled_until = world.now_us + 4_000_000
    server = fleet.postgres[now.one]
    server.hold_replay("slow", 4_000_000)
    held_at, run = server.replayed_end, server.run
    world.run_until(world.now_us + s.dice.between(100_000, 500_000))
    if not server.running or server.receiver is None:
        return

    def lose_records() -> None:
        records = (server.end - held_at) // RECORD
        if server.run == run and server.running and records > 0:
            server.end_receiver()
            server.damaged_from = server.end - s.dice.between(1, min(4, records)) * RECORD

    if s.dice.chance(500):
        lose_records()
    else:  # once it was chosen, and before it promotes (R3)
        fleet.once(
            lambda record: record.candidate == now.one and record.phase is Phase.PROMOTING, lose_records
        )
    fleet.lose_host(now.primary)
    world.run_until(world.now_us + s.dice.between(2_500_000, 4_000_000))
    fleet.restart_host(now.primary)
    must(fleet, fleet.whole, WHOLE_WITHIN_US, f"not whole after {now.one} lost records (I5)")
    world.count("damaged disks")


def primary_s_agent_is_lost(s: Scene) -> None:
    """R1: nobody stops the primary at once, so the others seal while it still sends."""
    if not is_quiet(s):
        return
    fleet, now = s.fleet, anew(s)
    s.lost.append(now.primary)
    fleet.lose_state(now.primary)
    load(s, 1_200)
    fleet.world.run_until(fleet.world.now_us + 1_000_000)
    must(fleet, fleet.whole, WHOLE_WITHIN_US, f"not whole after the agent of {now.primary} forgot (I5)")


def promotion_outlives_its_epoch(s: Scene) -> None:
    """R1, R4: as `agent_is_away_over_a_slow_promotion`, and nothing else."""
    if not is_quiet(s):
        return
    agent_is_away_over_a_slow_promotion(anew(s))
    s.fleet.world.run_until(s.fleet.world.now_us + 6_000_000)


def agent_forgets_a_promotion(s: Scene) -> None:
    """R1, docs/decisions/what-a-lost-state-was-told.md: it seals later, and PostgreSQL is still being promoted."""
    if len(s.fleet.agents) < 3 or not is_quiet(s):
        return  # of two, the one that forgets would be the only one that can tell
    fleet, world, now = s.fleet, s.fleet.world, anew(s)

    def slow_it_down() -> None:
        record = fleet.record()
        if record is None or not record.rule.waits:
            return  # solo on who forgets: the exception that I5 names
        candidate = str(record.candidate)
        slow_promotions(s, 2_500_000, 400)
        tries = iter(range(50))

        def forget() -> None:
            if fleet.postgres[candidate].promoting:
                s.lost.append(candidate)
                fleet.lose_state(candidate)
            elif next(tries, None) is not None:
                world.after(3_000, forget)

        forget()

    fleet.once(lambda record: record.phase is Phase.PROMOTING, slow_it_down)
    fleet.lose_host(now.primary)
    world.run_until(world.now_us + 6_000_000)
    fleet.restart_host(now.primary)
    must(fleet, fleet.whole, WHOLE_WITHIN_US, "not whole after an agent forgot a promotion (I5)")


def standby_is_nofailover(s: Scene) -> None:
    """R3: it is never a voter, and never chosen."""
    _the_file_says(s, "nofailover")


def standby_is_preferred_or_not(s: Scene) -> None:
    """R3: what the record may say then is `record_truth`'s business."""
    _the_file_says(s, "priority")


def standby_leaves(s: Scene) -> None:
    """R13: while a rule names it."""
    _the_file_says(s, "leaves")


def _the_file_says(s: Scene, kind: str) -> None:
    """What the operator wants of `one` changes; then the primary is lost, and later all is as it was."""
    fleet, world = s.fleet, s.fleet.world
    if len(fleet.agents) < 3 or not is_quiet(s):
        return
    now, spec = anew(s), fleet.spec
    mine = spec.member(MemberName(now.one))
    assert mine is not None
    if kind == "nofailover":
        apply(fleet, with_member(spec, replace(mine, nofailover=True)))
    elif kind == "priority":
        apply(fleet, with_member(spec, replace(mine, priority=s.dice.pick((50, 200, 200)))))
    else:
        others = tuple(m for m in spec.members if m.name != now.one)
        apply(fleet, replace(spec, members=others, k=min(spec.k, len(others) - 1)))
    world.run_until(world.now_us + s.dice.between(2_000_000, 4_000_000))
    if kind == "nofailover":
        _nobody_forced(fleet.record(), now.one)
    if kind != "leaves":
        if len(now.others) > 1 and s.dice.chance(500):  # the one that is preferred lags, and another one
            for lags in (now.one, now.others[0]):
                fleet.postgres[lags].stalled_until = world.now_us + 1_500_000
            world.run_until(world.now_us + 200_000)
        fleet.lose_host(now.primary)
        world.run_until(world.now_us + 1_000_000)
        must(fleet, _serves_without(fleet, now.primary), WHOLE_WITHIN_US, f"nobody serves after {kind}")
        fleet.restart_host(now.primary)
        if kind == "nofailover":
            _nobody_forced(fleet.record(), now.one)
    if kind == "leaves" and s.dice.chance(600):
        joins_while_a_host_is_lost(s, now, spec)
    apply(fleet, spec)
    must(fleet, fleet.whole, WHOLE_WITHIN_US, f"not whole after {kind} of {now.one} was taken back (I5)")


def _nobody_forced(record: Record | None, member: str) -> None:
    assert record is not None
    named = [voter for rule in record.rules for voter in rule.voters if voter.member == member]
    if named or record.primary == member:
        raise Violation(f"R3: {member} is nofailover, and the record has it as voter or primary")


def apply(fleet: Fleet, spec: ClusterSpec) -> None:
    fleet.apply(spec)


def etcd_is_restored_old(s: Scene) -> None:
    """R14: the record is that of before two changes of the rule, which looks the same and is in the same epoch.
    Nothing is written and nobody is ordered about until a person has mended it."""
    if not s.others or not is_quiet(s):
        return
    fleet, world, etcd, now = s.fleet, s.fleet.world, s.fleet.etcd, anew(s)
    old, old_revision = fleet.record() or _no_record(), etcd.record_revision
    forgets = s.dice.chance(400)  # an incarnation that was adopted in between, under a pair that is as high
    fleet.lose_host(now.one)
    if forgets:
        fleet.lose_directory(now.one)
    world.run_until(world.now_us + (fleet.profile.voter_lost_ms + 2_000) * 1_000)
    fleet.restart_host(now.one)
    world.run_until(world.now_us + 20_000_000, fleet.whole)
    newer, newer_revision = etcd.record, etcd.record_revision
    if newer is None or newer.epoch != old.epoch or forgets is (newer.rules == old.rules):
        return
    stored = [agent.state.obeyed.revision for agent in fleet.agents.values()]
    if newer_revision == old_revision or (forgets and min(stored) < newer_revision):
        return  # an order on its way would be as good as the one of the same pair that follows (seed 920005035)
    etcd.record, etcd.went_back = old, forgets
    etcd.record_revision = newer_revision if forgets else old_revision
    fleet.replace_leader()
    _stands_still(fleet, old, now.primary, "an older record than was obeyed")
    etcd.record, etcd.record_revision, etcd.went_back = newer, newer_revision, False
    fleet.replace_leader()
    world.count("records restored old" + forgets * ", an incarnation forgotten")


def another_etcd(s: Scene) -> None:
    """R14: the record was copied into an etcd that is not the one it was written in; then the primary crashes."""
    if not is_quiet(s):
        return
    fleet, now, record = s.fleet, anew(s), s.fleet.record()
    assert record is not None
    mine, fleet.etcd.cluster_id = fleet.etcd.cluster_id, _ANOTHER_ETCD
    fleet.replace_leader()
    _stands_still(fleet, record, now.primary, "the record of another etcd")
    fleet.etcd.cluster_id = mine
    fleet.replace_leader()
    fleet.world.count("records of another etcd")


def _stands_still(fleet: Fleet, record: Record, primary: str, why: str) -> None:
    """Once it has heard the members; also when the primary crashes, which every leader acts on."""
    world = fleet.world
    world.run_until(world.now_us + 1_500_000)
    orders = fleet.control.dispatch.newest  # its own: a leader that was replaced unawares may still speak
    orders.clear()
    fleet.kill_postmaster(primary)
    world.run_until(world.now_us + 2_500_000)
    if fleet.etcd.record != record:
        raise Violation(f"R14: the leader wrote over {why}")
    if orders:
        raise Violation(f"R14: the leader orders {sorted(orders)} about with {why}")


def _no_record() -> Record:
    raise Violation("the record is gone")


EXPERIMENTS: tuple[Fault, ...] = (
    one_is_gone_for_good,
    disk_of_a_standby_is_damaged,
    switchover_is_clean,
    standby_is_nofailover,
    primary_s_agent_is_lost,
    promotion_outlives_its_epoch,
    etcd_is_restored_old,
    two_are_gone_one_after_the_other,
    standby_is_preferred_or_not,
    one_is_gone_for_good,
    handover_to_nobody,
    primary_s_agent_is_lost,
    agent_forgets_a_promotion,
    disk_of_a_standby_is_damaged,
    another_etcd,
    standby_leaves,
    switchover_is_clean,
)
