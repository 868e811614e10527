# covers: S69
"""One run of the swarm: a plan, executed. At the end of each round everything heals, and within sixty virtual
seconds the cluster must be whole and acknowledge a fresh commit, or be in exactly an exception that is named."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.profile import PROFILES
from orchestrator.core.invariants import InvariantBroken
from tests.simulator.check_choice import legal_candidate
from tests.simulator.check_exception import wrongly_told
from tests.simulator.check_outage import Outages
from tests.simulator.check_whole import have, lacking
from tests.simulator.dice import Dice
from tests.simulator.faults import KINDS
from tests.simulator.faults_control import STORMY
from tests.simulator.fleet import Fleet
from tests.simulator.model_clients import Clients
from tests.simulator.model_network import CALM, Weather
from tests.simulator.model_parts import Entry
from tests.simulator.plan import Plan, Round, plan_of
from tests.simulator.scene import scene
from tests.simulator.violation import Violation

_STUCK = frozenset(
    {
        "seals_out_of_reach",
        "seals_awaited",
        "no_candidate_meets_the_bounds",
        "candidate_out_of_reach",
    }
)
"""What I5 allows, and only where an incarnation was lost: a prior or rule that only the lost one resolves."""
_WENT_BACK = frozenset({"record_went_back", "foreign_etcd"})
"""What R14 demands once etcd was restored from an older copy."""
_WEATHERS = {
    "calm": CALM,
    "lossy": Weather(loss_permille=10, doubled_permille=5),
    "slow": Weather(latency_us=1_000, jitter_us=9_000, slow_permille=10, between_sites_us=15_000),
    "stormy": STORMY,
}
_EPOCHS_TO_HEAL = 30
_HEALS_WITHIN_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    counts: dict[str, int]
    trace: tuple[str, ...]
    violation: str = ""
    virtual_s: int = 0
    steps: int = 0
    digest: str = ""
    """Of the whole trace: the same for a plan on every machine."""


def run(what: int | Plan) -> Outcome:
    collected = gc.isenabled()
    gc.disable()  # a run ends before its garbage matters, and half a million small values are looked at in vain
    try:
        # Nothing holds the fleet once it is back: the collector finds it dead while it is young.
        return _outcome(plan_of(what) if isinstance(what, int) else what)
    finally:
        if collected:
            gc.enable()


def _outcome(plan: Plan) -> Outcome:
    fleet = fleet_of(plan)
    world = fleet.world
    violation = ""
    try:
        _run(fleet, plan)
    except (Violation, InvariantBroken, AssertionError) as broken:
        violation = f"{type(broken).__name__}: {broken}"
    return Outcome(
        plan.seed,
        world.counts,
        tuple(world.trace),
        violation,
        world.now_us // 1_000_000,
        world.steps,
        world.digest(),
    )


def fleet_of(plan: Plan) -> Fleet:
    fleet = Fleet(
        plan.seed,
        members=plan.members,
        k=plan.k,
        profile=PROFILES[plan.profile],
        controls=plan.controls,
        sites=plan.sites,
        strict=plan.strict,
    )
    dice = Dice(plan.seed)
    if plan.drift_permille:
        for node in fleet.nodes:
            node.own_clock.drift(dice.between(-plan.drift_permille, plan.drift_permille))
    return fleet


def _run(fleet: Fleet, plan: Plan) -> None:
    world = fleet.world
    if not world.run_until(world.now_us + 40_000_000, fleet.whole):
        raise Violation(f"the cluster was not born: {_reasons(fleet)}")
    Clients(fleet, plan.write_every_ms)
    outages, spec = Outages(fleet, plan), fleet.spec
    for number, one in enumerate(plan.rounds):
        world.note(f"round {number}")
        fleet.network.weather = _WEATHERS[plan.weather]
        outages.begin(one)
        lost = _faults(fleet, one)
        fleet.heal()
        if fleet.spec != spec:
            fleet.apply(spec)
        if not _whole_again(fleet, lost=lost):
            return
        outages.end()
        fleet.failovers.whole_again()


def _faults(fleet: Fleet, one: Round) -> Sequence[str]:
    """Answers who lost an incarnation for good. It grows as long as anything of these faults is on its way, which may be
    after the healing (seed 362337181)."""
    world = fleet.world
    began_us = world.now_us
    lost: list[str] = []
    for timed in one.faults:
        world.run_until(began_us + timed.at_ms * 1_000)
        at = replace(scene(fleet, Dice(timed.dice)), lost=lost)
        world.note(f"fault {timed.fault} primary={at.primary} one={at.one}")
        world.count(f"fault {timed.fault}")
        KINDS[timed.fault](at)
        world.count("faults")
        if fleet.etcd.must_stop:
            break  # it stands still until a person has adopted what is there: who can tell must not be lost (R14)
    world.run_until(max(began_us + one.lasts_ms * 1_000, fleet.lasts_until_us))
    return lost


def _whole_again(fleet: Fleet, *, lost: Sequence[str]) -> bool:
    world = fleet.world
    healed = fleet.record()
    world.note("healed")

    def settled_or_spinning() -> bool:
        record = fleet.record()
        if healed is not None and record is not None and record.epoch > healed.epoch + _EPOCHS_TO_HEAL:
            raise Violation(f"{_EPOCHS_TO_HEAL} epochs after healing, and not whole (I5): {_reasons(fleet)}")
        return _is_whole(fleet)

    until_us = world.now_us + _HEALS_WITHIN_US
    if fleet.etcd.went_back:
        until_us = world.now_us + 15_000_000
    while world.run_until(until_us, settled_or_spinning):
        if fleet.etcd.must_stop:
            world.run_until(world.now_us + 6_000_000)  # the old leader's lease runs out before it looks
            if not _is_whole(fleet):
                continue
            raise Violation("R14: etcd went back below what a member obeyed, and the leader went on")
        if _commits(fleet):
            world.count("whole again")
            fleet.etcd.went_back = fleet.etcd.must_stop
            return True
        if _is_whole(fleet):  # else a fault that was on its way came after the healing
            raise Violation("whole, but no fresh commit is acknowledged and reaches every member (I5)")
    if fleet.whole():
        raise Violation(f"whole as the leader sees it (I5), and {lacking(fleet)}")
    reasons = fleet.control.engine.status(fleet.control.now).reasons
    said = {line.reason for line in reasons}
    if fleet.etcd.went_back and said & _WENT_BACK:
        world.count("records that went back, refused (R14)")
        return False
    if lost and said & _STUCK and not legal_candidate(fleet):
        wrong = wrongly_told(fleet, reasons)
        if wrong:
            raise Violation(f"the exception is not what the status names (I5): {wrong}; {_reasons(fleet)}")
        world.count("inherent exceptions (I5)")
        return False
    raise Violation(f"not whole within 60 s of healing (I5): {lacking(fleet)}; {_reasons(fleet)}")


def _is_whole(fleet: Fleet) -> bool:
    """As the leader sees it, and in the world."""
    return fleet.whole() and not lacking(fleet)


def _commits(fleet: Fleet) -> bool:
    """By the primary of the record, and it reaches everybody."""
    newest = fleet.checkers.newest_row
    before = dict(newest)

    def reached() -> bool:
        record = fleet.record()
        primary = "" if record is None or record.primary is None else str(record.primary)
        entry = fresh.get(primary)
        if entry is None:
            entry = newest.get(primary)
            if entry is None or entry is before.get(primary):
                return False
            fresh[primary] = entry
        return have(fleet, entry)

    fresh: dict[str, Entry] = {}
    return fleet.world.run_until(fleet.world.now_us + 3_000_000, reached)


def _reasons(fleet: Fleet) -> str:
    status = fleet.control.engine.status(fleet.control.now)
    members = ", ".join(f"{m.name}.{m.incarnation} {m.state} {m.error}" for m in status.members)
    return f"{status.phase} epoch {status.epoch} {[(r.reason, r.text) for r in status.reasons]}; {members}"


__all__ = ["Outcome", "fleet_of", "run"]
