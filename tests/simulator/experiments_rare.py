"""Experiments that bring about what no fault of the swarm does: much has to come together, and each piece is ordinary.

As in `experiments.py`: everything heals, one thing is done to a whole cluster, and what must come of it is known.
"""

from __future__ import annotations

from dataclasses import replace

from common.facts import NO_VERSION, PostgresState
from common.ids import MemberName
from orchestrator.core import events as ev
from orchestrator.core.record import Phase, Record
from tests.simulator.experiments import anew, apply, is_quiet
from tests.simulator.experiments_members import with_member
from tests.simulator.faults_clauses import load
from tests.simulator.fleet import Fleet
from tests.simulator.model_network import CONTROL
from tests.simulator.scene import Fault, Scene
from tests.simulator.violation import Violation

_PATIENT_MS = 2_000
"""With a profile that suspects later the old primary has given its follower up by then."""


def control_plane_is_rebuilt_from_a_backup(s: Scene) -> None:
    """R14: all control nodes and etcd are made anew from a backup of before a switchover. Whoever took part in that is
    cut off; of the one that is heard a person has the epoch left by force. So the record has the number of an epoch in
    which somebody was promoted already, at a higher revision than that one has obeyed; and then that one is heard."""
    fleet, world = s.fleet, s.fleet.world
    if len(fleet.agents) != 3 or fleet.spec.k != 1 or not is_quiet(s):
        return
    now, etcd = anew(s), fleet.etcd
    deaf = now.others[0]
    mine = fleet.spec.member(MemberName(deaf))
    assert mine is not None
    apply(fleet, with_member(fleet.spec, replace(mine, priority=200)))
    world.run_until(world.now_us + 2_000_000)
    backup, before = etcd.copy(), _epoch(fleet)
    fleet.cut.add((deaf, CONTROL))
    fleet.switchover(now.one)

    def is_promoted() -> bool:
        promotion = fleet.agents[now.one].state.promotion
        return promotion is not None and promotion.epoch > before  # in no epoch of before (seed 910000240)

    if not _of_this(backup.record) or not world.run_until(world.now_us + 8_000_000, is_promoted):
        return
    rules = () if backup.record is None else backup.record.rules
    if any(rule.seals_needed < 2 for rule in rules):
        return  # the one that is heard would be enough, and knows nothing of the rest (seed 999384736)
    fleet.cut |= {(now.one, CONTROL), (now.primary, CONTROL)}
    for node in fleet.nodes:
        node.die()
        node.highest_seen = NO_VERSION
    etcd.went_back = etcd.must_stop = True
    etcd.record, etcd.record_revision = backup.record, backup.record_revision
    world.count("control planes rebuilt from a backup")
    world.run_until(
        world.now_us + 4_000_000
    )  # until no order of before is sent again on a connection of before
    fleet.cut.discard((deaf, CONTROL))
    for node in fleet.nodes:
        node.start()
    world.run_until(world.now_us + 6_000_000)
    asked = ev.FailoverAsked(fleet.control.now, f"op{world.unique()}", "operator:sim", force=True)
    fleet.control.feed(asked)
    world.run_until(world.now_us + 2_000_000)
    record = etcd.record
    if record is None or record.phase is not Phase.SEALING:
        return
    fleet.cut.discard((now.one, CONTROL))
    world.run_until(world.now_us + 4_000_000)
    if etcd.record != record:
        raise Violation(
            f"R14: the leader goes on in epoch {record.epoch}, in which {now.one} was promoted before"
        )


def _of_this(record: Record | None) -> bool:
    return record is not None and record.phase is Phase.STABLE and len(record.rules) == 1


def follower_hears_of_the_new_primary_first(s: Scene) -> None:
    """R9: one that does not vote is cut off from the control nodes together with the old primary, and its disk hangs.
    What the old one went on writing reaches it just when it has been told to follow the new one."""
    fleet, world = s.fleet, s.fleet.world
    if not s.others or fleet.profile.suspect_ceiling_ms > _PATIENT_MS or not is_quiet(s):
        return
    now, spec = anew(s), fleet.spec
    mine = spec.member(MemberName(now.one))
    assert mine is not None
    apply(fleet, with_member(spec, replace(mine, nofailover=True)))
    if not world.run_until(world.now_us + 6_000_000, lambda: _is_no_voter(fleet, now.one)):
        return
    agent, server, epoch = fleet.agents[now.one], fleet.postgres[now.one], _epoch(fleet)
    server.stalled_until = world.now_us + 4_000_000
    fleet.cut |= {(now.primary, other) for other in now.others}
    fleet.cut |= {(now.primary, CONTROL), (now.one, CONTROL)}
    fleet.once(lambda record: record.phase is Phase.STABLE, lambda: fleet.cut.discard((now.one, CONTROL)))
    load_begun = [False]

    def look() -> bool:
        record = fleet.record()
        if not load_begun[0] and record is not None and record.phase is Phase.PROMOTING:
            load_begun[0] = True
            load(now, 1_500)
        return False

    def hear() -> None:
        if agent.state.obeyed.epoch > epoch:
            world.count("followers that hear of the new primary first")
            server.stalled_until = world.now_us + s.dice.between(0, 14_000)
        elif world.now_us < until_us:
            world.after(500, hear)

    until_us = world.now_us + 4_000_000
    hear()
    world.run_until(until_us, look)
    fleet.heal()
    apply(fleet, spec)
    world.run_until(world.now_us + 2_000_000)


def _epoch(fleet: Fleet) -> int:
    record = fleet.record()
    return 0 if record is None else record.epoch


def _is_no_voter(fleet: Fleet, name: str) -> bool:
    record = fleet.record()
    return (
        record is not None
        and record.target is None
        and all(voter.member != name for rule in record.rules for voter in rule.voters)
        and fleet.postgres[name].state is PostgresState.STANDBY
    )


RARELY: tuple[Fault, ...] = (
    control_plane_is_rebuilt_from_a_backup,
    follower_hears_of_the_new_primary_first,
)
