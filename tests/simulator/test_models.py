"""The models of what is around the cluster do what the real ones do, as far as the swarm relies on it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from common.ids import ClusterName
from common.rule import SOLO
from orchestrator.core.names import NameVersion, WantedNames
from orchestrator.core.record import Phase, Record
from orchestrator.core.spec import ClusterSpec
from tests.simulator.fleet import Fleet
from tests.simulator.model_etcd import LEASE_US, Etcd, Saved
from tests.simulator.model_names import NameServers
from tests.simulator.model_network import Network, Weather
from tests.simulator.world import World

RECORD = Record(ClusterName("c1"), 1, Phase.INITIALISING, (), rules=(SOLO,))


def _network() -> Network:
    world = World(1)
    return Network(world, {"a": "s1", "b": "s2", "n1": "s1", "etcd": "s1", "dns": "s1"}, ("n1",))


def _etcd() -> Etcd:
    network = _network()
    return Etcd(network.world, network, lambda old, new: None)


def _wanted(epoch: int, revision: int) -> WantedNames:
    return WantedNames("c1", "db.example.", epoch, revision, ("10.0.0.1",), ())


def test_a_one_way_cut_lets_the_other_way_pass() -> None:
    network = _network()
    network.block("a", "b", for_us=1_000)
    assert not network.passes("a", "b")
    assert network.passes("b", "a")
    network.world.run_until(network.world.now_us + 1_000)
    assert network.passes("a", "b")


def test_a_site_that_is_cut_reaches_nobody_elsewhere() -> None:
    network = _network()
    network.cut_site("s2", 0)
    assert not network.both_ways("a", "b")
    assert network.both_ways("a", "n1")


def test_what_is_sent_into_a_short_cut_comes_late_over_tcp_and_never_by_datagram() -> None:
    network, came = _network(), list[str]()
    network.cut_for("a", "b", 300_000)
    network.datagram("a", "b", lambda: came.append("datagram"))
    network.call("a", "b", lambda: came.append("call"))
    network.world.run_until(network.world.now_us + 5_000_000)
    assert came == ["call"]


def test_a_stream_is_never_overtaken() -> None:
    network, came = _network(), list[int]()
    network.weather = Weather(slow_permille=500)
    for number in range(100):
        network.stream("a", "b", lambda n=number: came.append(n))  # type: ignore[misc]
    network.world.run_until(network.world.now_us + 5_000_000)
    assert came == sorted(came)
    assert came[-1] == 99


def test_datagrams_are_lost_doubled_and_out_of_order_in_bad_weather() -> None:
    network, came = _network(), list[int]()
    network.weather = Weather(loss_permille=200, doubled_permille=200, slow_permille=300)
    for number in range(100):
        network.datagram("a", "b", lambda n=number: came.append(n))  # type: ignore[misc]
    network.world.run_until(network.world.now_us + 5_000_000)
    assert len(set(came)) < 100
    assert len(set(came)) < len(came)
    assert came != sorted(came)


def test_etcd_saves_under_the_term_and_the_revision_alone() -> None:
    etcd = _etcd()
    term, lease = etcd.elect("n1")
    assert etcd.save(RECORD, 0, term + 1, lease, repeated=False) is Saved.LOST_LEADERSHIP
    assert etcd.save(RECORD, 0, term, lease + 1, repeated=False) is Saved.LOST_LEADERSHIP
    revision = etcd.save(RECORD, 0, term, lease, repeated=False)
    assert isinstance(revision, int)
    assert etcd.save(replace(RECORD, epoch=2), 0, term, lease, repeated=False) is Saved.CONFLICT


def test_the_same_save_again_settles_an_unknown_outcome() -> None:
    etcd = _etcd()
    term, lease = etcd.elect("n1")
    revision = etcd.save(RECORD, 0, term, lease, repeated=False)
    assert etcd.save(RECORD, 0, term, lease, repeated=True) == revision
    assert etcd.save(replace(RECORD, epoch=2), 0, term, lease, repeated=True) is Saved.CONFLICT


def test_a_lease_that_is_not_kept_runs_out_and_frees_the_election() -> None:
    etcd = _etcd()
    told: list[int] = []
    etcd.watchers.append(lambda: told.append(etcd.term))
    etcd.elect("n1")
    assert etcd.campaign("n2") == (0, 0)
    etcd.world.run_until(etcd.world.now_us + LEASE_US + 1)
    assert told == [0]
    assert etcd.campaign("n2")[0]


def test_leases_stand_still_while_etcd_has_no_majority() -> None:
    etcd = _etcd()
    etcd.elect("n1")
    etcd.lose_majority(2 * LEASE_US)
    etcd.world.run_until(etcd.world.now_us + 2 * LEASE_US)
    assert etcd.holder == "n1"
    etcd.world.run_until(etcd.world.now_us + LEASE_US + 1)
    assert etcd.holder == ""


def test_a_change_of_dns_is_refused_unless_the_version_is_as_seen() -> None:
    network = _network()
    written: list[WantedNames] = []
    servers = NameServers(network.world, network, written.append)
    assert servers.update(_wanted(1, 5), None)
    assert not servers.update(_wanted(2, 9), None)
    assert servers.update(_wanted(2, 9), NameVersion(1, 5))
    assert not servers.update(_wanted(1, 6), NameVersion(1, 5))
    assert [wanted.epoch for wanted in written] == [1, 2]


@pytest.mark.parametrize("controls", [1, 3])
def test_one_control_node_leads_and_another_takes_its_place(controls: int) -> None:
    fleet = Fleet(5, controls=controls)
    assert fleet.world.run_until(fleet.world.now_us + 40_000_000, fleet.whole)
    old = fleet.control
    old.die()
    fleet.world.after(6_000_000, old.start)
    fleet.world.run_until(fleet.world.now_us + 5_000_000)
    assert (fleet.control is not old) == (controls > 1)
    assert fleet.world.run_until(fleet.world.now_us + 10_000_000, fleet.whole)


def test_a_leader_that_stood_still_lets_go_and_its_late_write_is_refused() -> None:
    fleet = Fleet(5, controls=3)
    assert fleet.world.run_until(fleet.world.now_us + 40_000_000, fleet.whole)
    old, term, lease = fleet.control, fleet.etcd.term, fleet.etcd.lease
    old.freeze()
    fleet.world.run_until(fleet.world.now_us + 5_000_000)
    assert fleet.control is not old
    old.thaw()
    fleet.world.run_until(fleet.world.now_us + 1_000_000)
    assert old.term == 0
    assert fleet.record() is not None
    late = fleet.etcd.save(RECORD, fleet.etcd.record_revision, term, lease, repeated=False)
    assert late is Saved.LOST_LEADERSHIP


def test_the_specification_of_a_fleet_has_no_mistakes() -> None:
    spec: ClusterSpec = Fleet(1, members=5, k=2, controls=5, sites=3).spec
    assert not list(spec.mistakes())
