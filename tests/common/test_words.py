"""Ids, positions, profiles, and the JSON of the shared vocabulary."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.assignment import Assignment, Follow, HistoryStep, Position, Promote, Rebuild, Upstream, Version
from common.codec import decode, encode
from common.facts import Facts, PostgresState, SealReport
from common.ids import (
    ClusterName,
    IncarnationId,
    MemberName,
    application_name,
    cluster_name,
    member_name,
    parse_application_name,
    parse_slot_name,
    slot_name,
)
from common.lsn import Lsn
from common.profile import DEFAULT, PROFILES, Profile
from common.rule import Voter, quorum

_MEMBERS = st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True)
_NUMBERS = st.integers(1, 10**6)
_LSNS = st.integers(0, 2**64 - 1).map(Lsn)


@given(_MEMBERS, _NUMBERS, _NUMBERS)
def test_names_in_postgresql_are_read_back_as_they_were_written(name: str, number: int, epoch: int) -> None:
    member = MemberName(name)
    assert parse_application_name(application_name(member, number, epoch)) == (member, number, epoch)
    assert parse_slot_name(slot_name(member, number, epoch)) == (member, number, epoch)


@pytest.mark.parametrize("text", ["psql", "b.2", "b@7", "B.1@7", "b.1@7 ", "walreceiver"])
def test_a_stranger_is_no_member(text: str) -> None:
    assert parse_application_name(text) is None


@pytest.mark.parametrize("text", ["", "B", "1b", "b-c", "b" * 32, "primacy_fence"])
def test_a_member_name_that_fits_nowhere_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="member name"):
        member_name(text)


def test_a_cluster_name_is_a_dns_label() -> None:
    assert cluster_name("shop-1") == "shop-1"
    with pytest.raises(ValueError, match="DNS label"):
        cluster_name("shop_1")


@given(_LSNS)
def test_a_position_prints_and_parses_as_postgresql_does(lsn: Lsn) -> None:
    assert Lsn.parse(str(lsn)) == lsn
    assert f"{lsn}" == str(lsn)


@given(_LSNS, _LSNS)
def test_positions_compare_as_numbers_and_not_as_text(a: Lsn, b: Lsn) -> None:
    assert (Position(1, a) < Position(1, b)) == (int(a) < int(b))
    assert Position(1, max(a, b)) < Position(2, min(a, b))


@pytest.mark.parametrize("text", ["", "16", "16/", "G/0", "1/123456789", "0/0 "])
def test_what_is_no_position_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="not a WAL position"):
        Lsn.parse(text)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_every_profile_keeps_its_relations(profile: Profile) -> None:
    assert list(profile.mistakes()) == []


def test_a_profile_that_would_fail_over_for_three_lost_beats_is_a_mistake() -> None:
    broken = replace(DEFAULT, suspect_floor_ms=399)
    assert any("suspect_floor_ms=399" in mistake for mistake in broken.mistakes())
    assert list(replace(DEFAULT, suspect_floor_ms=400).mistakes()) == []


def test_a_healthy_primary_never_fences_itself_within_the_time_that_a_commit_may_take() -> None:
    assert DEFAULT.slowest_commit_ms == 1_795  # (1+rho)(h + 2r) < L - G, as in docs/protocol.md


_ASSIGNMENTS = st.builds(
    Assignment,
    st.just(ClusterName("c1")),
    _MEMBERS.map(MemberName),
    st.just(IncarnationId("00000000000000aa")),
    _NUMBERS,
    st.builds(Version, _NUMBERS, _NUMBERS),
    st.just("77"),
    st.builds(
        Follow,
        st.builds(Upstream, _MEMBERS.map(MemberName), st.just("10.0.0.1"), st.just(5432)),
        _NUMBERS,
        st.lists(st.builds(HistoryStep, _NUMBERS, _LSNS), max_size=3).map(tuple),
        st.none() | st.builds(Rebuild, st.none() | st.builds(Position, _NUMBERS, _LSNS)),
    )
    | st.builds(
        Promote,
        _NUMBERS,
        st.builds(Position, _NUMBERS, _LSNS),
        st.just(quorum([Voter(MemberName("b"), 2)], 1)),
    ),
)


@given(_ASSIGNMENTS)
def test_an_order_is_the_same_after_a_journey_as_json(assignment: Assignment) -> None:
    assert decode(encode(assignment), Assignment) == assignment


@given(_LSNS, st.none() | _LSNS, st.sampled_from(PostgresState))
def test_facts_are_the_same_after_a_journey_as_json(
    end: Lsn, flushed: Lsn | None, postgres: PostgresState
) -> None:
    incarnation = IncarnationId("00000000000000aa")
    seal = SealReport(4, incarnation, 3, end, flushed)
    facts = Facts(
        ClusterName("c1"), MemberName("a"), incarnation, Version(3, 4), seal=seal, postgres=postgres
    )
    assert decode(encode(facts), Facts) == facts


def test_a_newer_peer_may_say_more_but_a_wrong_type_is_named() -> None:
    assert decode(b'{"epoch":1,"revision":2,"colour":"red"}', Version) == Version(1, 2)
    with pytest.raises(ValueError, match="revision"):
        decode(b'{"epoch":1,"revision":"x"}', Version)
