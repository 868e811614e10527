"""Whole in the world: each thing that may lack is taken away, and found, whatever the leader believes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from common.assignment import Position
from common.lsn import Lsn
from common.rule import SOLO, quorum
from orchestrator.core.record import Phase, Prior
from tests.simulator.broken import A, B, fail_over, isolate, record_of, rows, run, until, whole_fleet
from tests.simulator.check_whole import have, lacking
from tests.simulator.fleet import Fleet
from tests.simulator.model_clients import Clients
from tests.simulator.swarm import _whole_again
from tests.simulator.violation import Violation


def _primary_crashes(fleet: Fleet) -> None:
    fleet.postgres["a"].crash()


def _door_is_shut(fleet: Fleet) -> None:
    fleet.postgres["a"].conf.closed = True


def _rule_is_another(fleet: Fleet) -> None:
    fleet.postgres["a"].loaded_rule = ""


def _receiver_ends(fleet: Fleet) -> None:
    fleet.postgres["c"].end_receiver()


def _streams_under_an_old_name(fleet: Fleet) -> None:
    fleet.postgres["a"].senders[0].name = "b.1@0"


def _state_is_lost(fleet: Fleet) -> None:
    fleet.lose_state("b")


def _secondary_lags(fleet: Fleet) -> None:
    fleet.names.secondary = None


def _name_is_anothers(fleet: Fleet) -> None:
    said = fleet.names.primary
    assert said is not None
    fleet.names.primary = dataclasses.replace(said, primary=said.replicas[:1])


def _replica_is_missing(fleet: Fleet) -> None:
    said = fleet.names.primary
    assert said is not None
    fleet.names.primary = dataclasses.replace(said, replicas=said.replicas[:1])


def _record_is_sealing(fleet: Fleet) -> None:
    fleet.etcd.record = replace(record_of(fleet), phase=Phase.SEALING)


def _rule_is_solo(fleet: Fleet) -> None:
    fleet.etcd.record = replace(record_of(fleet), rules=(SOLO,))


def _rule_changes(fleet: Fleet) -> None:
    record = record_of(fleet)
    target = quorum([record.the(B).voter], 1)
    fleet.etcd.record = replace(record, rules=(record.rule, target), target=target)


def _prior_is_left(fleet: Fleet) -> None:
    fleet.etcd.record = replace(record_of(fleet), prior=(Prior(0, A, 1, SOLO, Position(1, Lsn(128))),))


def _member_is_missing(fleet: Fleet) -> None:
    record = record_of(fleet)
    fleet.etcd.record = replace(record, members=record.members[:2])


@pytest.mark.parametrize(
    ("bend", "says"),
    [
        (_primary_crashes, "a is stopped"),
        (_door_is_shut, "a is primary, open: False"),
        (_rule_is_another, "a has '' in force"),
        (_receiver_ends, "c is standby, and has no receiver"),
        (_streams_under_an_old_name, "streams as b.1@0"),
        (_state_is_lost, "b is another incarnation"),
        (_secondary_lags, "the zone's secondary says None"),
        (_name_is_anothers, "the zone's primary says"),
        (_replica_is_missing, "the zone's primary says that replicas are at"),
        (_record_is_sealing, "the record is SEALING"),
        (_rule_is_solo, "the rule is solo; 1 of"),
        (_rule_changes, "a change of the rule to ANY 1 (b."),
        (_prior_is_left, "not settled"),
        (_member_is_missing, "the members are ['a', 'b']"),
    ],
    ids=lambda one: one.__name__.strip("_") if callable(one) else "",
)
def test_what_lacks_is_said(bend: Callable[[Fleet], None], says: str) -> None:
    fleet = whole_fleet()
    assert lacking(fleet) == ""
    bend(fleet)
    assert says in lacking(fleet)


def test_a_superseded_primary_s_acknowledgements_prove_nothing() -> None:
    """`a` is solo in its own eyes, and goes on writing; the primary of the record acknowledges nobody."""
    fleet = whole_fleet()
    fail_over(fleet)
    fleet.heal()
    until(fleet, lambda: fleet.whole() and not lacking(fleet))
    primary = str(record_of(fleet).primary)
    other = "c" if primary == "b" else "b"
    fleet.checkers.newest_row[other] = fleet.postgres[primary].log[-1]
    with pytest.raises(Violation, match="no fresh commit is acknowledged"):
        _whole_again(fleet, lost=[])


def test_a_row_must_reach_every_member() -> None:
    fleet = whole_fleet()
    rows(fleet)
    run(fleet, 100_000)
    row = fleet.checkers.newest_row["a"]
    assert have(fleet, row)
    isolate(fleet, "c")
    rows(fleet)
    assert not have(fleet, fleet.checkers.newest_row["a"])


def test_a_leader_that_takes_a_cluster_for_whole_which_is_not_is_found() -> None:
    fleet = whole_fleet()
    Clients(fleet)
    fleet.names.secondary = None
    assert fleet.whole()
    with pytest.raises(Violation, match=r"^whole as the leader sees it .*the zone's secondary says None"):
        _whole_again(fleet, lost=[])
