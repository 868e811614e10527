"""One run of the swarm: rounds of faults drawn from the seed. At the end of each round everything heals, and
within sixty virtual seconds the cluster must be whole, or in exactly the exception that I5 names."""

from __future__ import annotations

from dataclasses import dataclass

from common.profile import DEFAULT, FAST
from tests.simulator.checkers import Violation
from tests.simulator.experiments import EXPERIMENTS
from tests.simulator.experiments_late import LATE
from tests.simulator.faults import AIMED, PLAIN, scene
from tests.simulator.faults_aimed import AT_A_CLAUSE, IDENTITIES_LOST
from tests.simulator.fleet import Fleet

_EXCEPTIONS = (
    "seals_out_of_reach",
    "seals_awaited",
    "no_candidate_meets_the_bounds",
    "candidate_out_of_reach",
)
"""What I5 allows, and only where an incarnation was lost: a prior or rule that only the lost one resolves."""


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    counts: dict[str, int]
    trace: tuple[str, ...]
    violation: str = ""
    virtual_s: int = 0


def run(seed: int) -> Outcome:
    fleet = _drawn(seed)
    world = fleet.world
    try:
        _run(fleet)
    except (Violation, AssertionError) as broken:
        return Outcome(seed, world.counts, tuple(world.trace), f"{type(broken).__name__}: {broken}")
    return Outcome(seed, world.counts, tuple(world.trace), virtual_s=world.now_us // 1_000_000)


def _drawn(seed: int) -> Fleet:
    """The options of a run come from its seed too; a small generator of their own keeps them apart."""
    members = (3, 3, 2, 4, 5)[seed % 5]
    k = 2 if members >= 4 and seed % 3 == 0 else 1
    return Fleet(seed, members=members, k=k, profile=FAST if seed % 2 else DEFAULT)


def _run(fleet: Fleet) -> None:
    world = fleet.world
    if not world.run_until(world.now_us + 40_000_000, fleet.whole):
        raise Violation(f"the cluster was not born: {_reasons(fleet)}")
    _clients(fleet)
    experiments = (*LATE, *EXPERIMENTS)  # 23: prime to what the options of a run are drawn by
    # Seven on each time, so that the first seeds see some of every kind.
    experiments[world.seed * 7 % len(experiments)](scene(fleet))
    for _ in range(_ROUNDS):
        lost = _faults(fleet)
        fleet.heal()
        if not _whole_again(fleet, lost=lost):
            return


_FAULTS = (*AIMED, *AT_A_CLAUSE, EXPERIMENTS[0], EXPERIMENTS[2])
_ROUNDS = 6
_EPOCHS_TO_HEAL = 30


def _faults(fleet: Fleet) -> bool:
    """An aimed one and now and then others beside it; answers whether an incarnation was lost for good."""
    world = fleet.world
    lost = False
    lost_before = sum(world.counts.get(what, 0) for what in IDENTITIES_LOST)
    for _ in range(world.dice.choice((1, 1, 2, 3))):
        at = scene(fleet)
        fault = world.dice.choice(_FAULTS if world.chance(700) else PLAIN)
        world.count("faults")
        world.note(f"fault {fault.__name__} primary={at.primary} one={at.one}")
        fault(at)
        world.run_until(world.now_us + world.between(1_000, 1_500_000))
    if world.chance(120) and lost_before == sum(world.counts.get(what, 0) for what in IDENTITIES_LOST):
        victim = world.dice.choice(sorted(fleet.agents))
        world.note(f"fault: {victim} loses its state")
        fleet.lose_state(victim)
        lost = True
    world.run_until(world.now_us + world.between(100_000, 3_500_000))
    return lost


def _whole_again(fleet: Fleet, *, lost: bool) -> bool:
    world = fleet.world
    healed = fleet.record()
    assert healed is not None

    def settled_or_spinning() -> bool:
        record = fleet.record()
        assert record is not None
        if record.epoch > healed.epoch + _EPOCHS_TO_HEAL:
            raise Violation(f"{_EPOCHS_TO_HEAL} epochs after healing, and not whole (I5): {_reasons(fleet)}")
        return fleet.whole()

    until_us = world.now_us + 60_000_000
    while world.run_until(until_us, settled_or_spinning):
        if _commits(fleet):
            world.count("whole again")
            return True
        if fleet.whole():  # else a fault that was on its way came after the healing
            raise Violation("whole, but no fresh commit is acknowledged (I5)")
    reasons = _reasons(fleet)
    if lost and any(name in reasons for name in _EXCEPTIONS):
        world.count("inherent exceptions (I5)")
        return False
    raise Violation(f"not whole within 60 s of healing (I5): {reasons}")


def _commits(fleet: Fleet) -> bool:
    before = fleet.checkers.client_rows
    return fleet.world.run_until(fleet.world.now_us + 3_000_000, lambda: fleet.checkers.client_rows > before)


def _clients(fleet: Fleet) -> None:
    def write() -> None:
        fleet.write()
        fleet.world.after(fleet.world.between(5_000, 40_000), write)

    write()


def _reasons(fleet: Fleet) -> str:
    status = fleet.control.engine.status(fleet.world.now)
    members = ", ".join(f"{m.name}.{m.incarnation} {m.state} {m.error}" for m in status.members)
    return f"{status.phase} epoch {status.epoch} {[(r.reason, r.text) for r in status.reasons]}; {members}"
