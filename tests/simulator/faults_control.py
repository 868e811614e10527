"""Faults of the control plane and of the paths to it: leaders that die, stand still or are cut off; etcd; DNS."""

from __future__ import annotations

from orchestrator.core.record import Phase, Record
from tests.simulator.model_network import CALM, DNS, ETCD, Weather
from tests.simulator.scene import Scene

STORMY = Weather(jitter_us=8_000, loss_permille=40, doubled_permille=20, slow_permille=60, slow_us=400_000)


def _leaving(record: Record) -> bool:
    return record.phase is not Phase.STABLE


def leader_is_killed(s: Scene) -> None:
    s.kill(s.leader)
    s.later(0, 1_500, s.lose_primary)


def leader_is_killed_in_a_failover(s: Scene) -> None:
    s.fleet.once(_leaving, lambda: s.later(0, 60, lambda: s.kill(s.leader)))
    s.lose_primary()


def leader_stands_still(s: Scene) -> None:
    s.freeze(s.leader)
    s.later(0, 2_000, s.lose_primary)


def leader_is_paused_with_its_clock(s: Scene) -> None:
    """A VM under it: when it goes on it takes its election, and its proof of it, for fresh."""
    leader = s.leader
    leader.pause()
    s.later(500, 6_000, leader.resume)
    s.later(0, 2_000, s.lose_primary)


def leader_stands_still_in_a_failover(s: Scene) -> None:
    """Between reading and writing, or between writing and delivering; another one goes on meanwhile."""
    s.fleet.once(_leaving, lambda: s.later(0, 40, lambda: s.freeze(s.leader, 1_500, 7_000)))
    s.lose_primary()


def leader_stands_still_in_a_rule_change(s: Scene) -> None:
    s.fleet.once(
        lambda record: len(record.rules) == 2,
        lambda: s.later(0, 300, lambda: s.freeze(s.leader, 1_500, 7_000)),
    )
    stay_ms = s.fleet.profile.voter_lost_ms
    s.lose(s.one, stay_ms, stay_ms + 2_500)
    s.later(stay_ms, stay_ms + 4_000, s.lose_primary)


def leader_is_cut_from_etcd(s: Scene) -> None:
    s.cut_from_etcd(s.leader)
    s.later(0, 2_000, s.lose_primary)


def leader_hears_nobody(s: Scene) -> None:
    """It sees etcd and the other control nodes, and no member: it should give up the election."""
    for name in s.members:
        s.block(name, s.leader.place, 2_000, 9_000)


def leader_does_not_hear_the_primary(s: Scene) -> None:
    s.block(s.primary, s.leader.place, 1_000, 6_000)


def control_node_restarts(s: Scene) -> None:
    s.kill(s.dice.pick(s.fleet.nodes))


def all_control_nodes_are_down(s: Scene) -> None:
    for node in s.fleet.nodes:
        s.kill(node, 500, 6_000)
    if s.dice.chance(600):
        s.later(0, 3_000, s.lose_primary)


def control_nodes_stand_still_in_turn(s: Scene) -> None:
    for node in s.fleet.nodes:
        s.later(0, 2_000, lambda n=node: s.freeze(n, 200, 4_500))  # type: ignore[misc]
    s.later(0, 2_000, s.lose_primary)


def etcd_has_no_majority(s: Scene) -> None:
    s.fleet.etcd.lose_majority(s.ms(300, 6_000))
    s.later(0, 2_500, s.lose_primary)


def etcd_fails_in_a_failover(s: Scene) -> None:
    s.fleet.once(_leaving, lambda: s.later(0, 60, lambda: s.fleet.etcd.lose_majority(s.ms(300, 5_000))))
    s.lose_primary()


def etcd_is_slow(s: Scene) -> None:
    s.fleet.etcd.be_slow(s.ms(1_000, 6_000))
    s.later(0, 1_000, s.lose_primary)


def answers_of_etcd_are_lost(s: Scene) -> None:
    for node in s.fleet.nodes:
        s.block(ETCD, node.place, 200, 2_500)
    s.later(0, 300, s.lose_primary)


def name_servers_are_away(s: Scene) -> None:
    s.fleet.names.down_until_us = s.fleet.world.now_us + s.ms(500, 6_000)
    s.lose_primary()


def name_servers_are_slow(s: Scene) -> None:
    """What an old leader asked for may be done long after."""
    s.fleet.names.slow_until_us = s.fleet.world.now_us + s.ms(1_000, 6_000)
    s.lose_primary()
    s.later(200, 2_500, lambda: s.kill(s.leader))
    s.later(1_500, 4_000, s.lose_primary)


def leader_is_cut_from_dns(s: Scene) -> None:
    s.cut(s.leader.place, DNS, 1_000, 6_000)
    s.lose_primary()


def site_is_cut(s: Scene) -> None:
    sites = sorted(set(s.fleet.sites.values()))
    one_way = s.dice.chance(300)
    s.fleet.network.cut_site(s.dice.pick(sites), s.ms(500, 7_000), one_way=one_way)


# covers: S76
def site_is_lost(s: Scene) -> None:
    """Everything in it at once: members, control nodes; etcd keeps its majority elsewhere."""
    sites = sorted(set(s.fleet.sites.values()))
    inside = s.fleet.network.of_site(s.dice.pick(sites))
    for name in s.members:
        if name in inside and len(sites) > 1:
            s.lose(name, 1_500, 7_000)
    for node in s.fleet.nodes:
        if node.place in inside and len(sites) > 1:
            s.kill(node, 1_500, 7_000)


# covers: T70
def partial_partition(s: Scene) -> None:
    """Some pairs of everything, some of them one way."""
    places = (*s.members, *s.fleet.network.controls, ETCD)
    for _ in range(s.dice.between(2, 8)):
        a, b = s.dice.some(places, 2)
        if s.dice.chance(500):
            s.block(a, b, 300, 6_000)
        else:
            s.cut(a, b, 300, 6_000)
    if s.dice.chance(500):
        s.later(0, 2_000, s.lose_primary)


def storm(s: Scene) -> None:
    """Loss, doubles, and datagrams out of order, for a while."""
    before = s.fleet.network.weather

    def calm_down() -> None:
        if s.fleet.network.weather is STORMY:
            s.fleet.network.weather = before if before is not STORMY else CALM

    s.fleet.network.weather = STORMY
    s.later(1_000, 6_000, calm_down)
    s.later(0, 1_000, s.lose_primary)


def another_leader(s: Scene) -> None:
    s.fleet.replace_leader(kill=s.dice.chance(500))


def etcd_is_restored(s: Scene) -> None:
    """From a copy that is a while old (R14): the leader must stop, unless nothing was lost by it."""
    copy = s.fleet.etcd.copy()
    etcd = s.fleet.etcd

    def restore() -> None:
        etcd.restore(copy, obeyed=s.fleet.obeyed(), cluster_id=78 if s.dice.chance(300) else None)

    if s.dice.chance(700):
        s.later(0, 500, s.lose_primary)
    s.later(300, 8_000, restore)
