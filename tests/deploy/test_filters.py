"""What a filter drops, as nft is told."""

from __future__ import annotations

import pytest

from deploy.lab.filters import Carried, Drop, Way, drops_around, drops_between, nft_rules

PORTS = {"a": "p0", "b": "p1", "c": "p2"}


def rules(*drops: Drop) -> list[str]:
    return nft_rules(drops, PORTS).splitlines()[1:]


def test_no_filter_is_an_empty_chain() -> None:
    assert nft_rules((), PORTS) == "flush chain bridge lab faults\n"


def test_a_cut_from_one_peer_has_both_ways_and_leaves_the_others_alone() -> None:
    assert rules(*drops_around("a", ["b"])) == [
        'add rule bridge lab faults iifname "p0" oifname "p1" ether type ip drop',
        'add rule bridge lab faults iifname "p1" oifname "p0" ether type ip drop',
    ]


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        pytest.param(Way.OUT, (Drop("a", None),), id="nothing_leaves_it"),
        pytest.param(Way.IN, (Drop(None, "a"),), id="nothing_reaches_it"),
        pytest.param(Way.BOTH, (Drop("a", None), Drop(None, "a")), id="both"),
    ],
)
def test_a_one_way_cut_is_seen_from_the_host(way: Way, expected: tuple[Drop, ...]) -> None:
    assert drops_around("a", None, way) == expected


def test_a_protocol_and_a_share_are_told_apart() -> None:
    assert rules(Drop("a", None, Carried.UDP, 20)) == [
        'add rule bridge lab faults iifname "p0" ether type ip ip protocol udp numgen random mod 100 < 20 drop'
    ]


def test_two_groups_are_cut_from_each_other_and_not_inside() -> None:
    cut = {(drop.sender, drop.receiver) for drop in drops_between(["a", "b"], ["c"])}
    assert cut == {("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")}


@pytest.mark.parametrize("percent", [0, 101])
def test_a_share_outside_of_1_to_100_is_a_mistake(percent: int) -> None:
    assert Drop("a", None, percent=percent).mistakes()
    assert not Drop("a", None, percent=100).mistakes()
