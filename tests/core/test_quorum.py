"""R2 and R3 against a dumb twin: every way in which commits may have been acknowledged is tried out."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.facts import SealReport
from common.ids import MemberName
from common.lsn import Lsn
from common.rule import SOLO, Rule, Voter
from orchestrator.core.quorum import resolve, resolve_all, sealed_voters, with_bounds
from orchestrator.core.record import Prior
from tests.core.builders import any_of, at, incarnation, record, seal

_NAMES = "bcdef"


def _prior(rule: Rule, bound: int | None = None) -> Prior:
    return Prior(3, MemberName("a"), 1, rule, None if bound is None else at(bound))


def _sealed(**ends: int) -> dict[Voter, SealReport]:
    return {Voter(MemberName(n), 1): seal(n, end) for n, end in ends.items()}


@st.composite
def _cases(draw: st.DrawFn) -> tuple[Rule, dict[str, int]]:
    size = draw(st.integers(1, 5))
    names = _NAMES[:size]
    k = draw(st.integers(1, size))
    sealed = draw(st.dictionaries(st.sampled_from(names), st.integers(0, 6), max_size=size))
    return any_of(k, *names), sealed


def _highest_acknowledged(rule: Rule, sealed: dict[str, int]) -> int | None:
    """The dumb twin: some k voters have it, and the unsealed ones may have anything; None: no limit."""
    unlimited = 99
    highest = 0
    for having in combinations([str(v.member) for v in rule.voters], rule.k):
        highest = max(highest, min(sealed.get(name, unlimited) for name in having))
    return None if highest == unlimited else highest


@given(_cases())
def test_a_prior_is_resolved_exactly_when_nothing_more_can_have_been_acknowledged(
    case: tuple[Rule, dict[str, int]],
) -> None:
    rule, sealed = case
    bound = resolve(_prior(rule), _sealed(**sealed)).bound
    highest = _highest_acknowledged(rule, sealed)
    assert (bound is None) == (highest is None)


@pytest.mark.covers("S56", "S67")
@given(_cases())
def test_a_bound_is_never_below_what_may_have_been_acknowledged(case: tuple[Rule, dict[str, int]]) -> None:
    rule, sealed = case
    bound = resolve(_prior(rule), _sealed(**sealed)).bound
    highest = _highest_acknowledged(rule, sealed)
    if bound is not None and highest is not None:
        assert bound.end_lsn >= highest


@pytest.mark.parametrize(
    ("sealed", "bound"),
    [
        pytest.param({"b": 5}, None, id="one_of_two_is_not_enough_for_k_1"),
        pytest.param({"b": 5, "c": 9}, 9, id="both_are_and_the_higher_one_counts"),
        pytest.param({"a": 7}, 7, id="the_primary_alone_is_enough"),
        pytest.param({"a": 7, "b": 5, "c": 9}, 7, id="the_lowest_of_what_each_way_gives"),
    ],
)
def test_any_1_of_two_voters(sealed: dict[str, int], bound: int | None) -> None:
    found = resolve(_prior(any_of(1, "b", "c")), _sealed(**sealed)).bound
    assert found == (None if bound is None else at(bound))


def test_solo_is_resolved_by_its_primary_alone() -> None:
    assert resolve(_prior(SOLO), _sealed(b=5, c=9)).bound is None
    assert "a.1, which alone" in resolve(_prior(SOLO), _sealed(b=5)).missing
    assert resolve(_prior(SOLO), _sealed(a=4)).bound == at(4)


def test_a_recorded_bound_needs_no_second_seal() -> None:
    assert resolve(_prior(SOLO, bound=3), {}).bound == at(3)


def test_a_rebuilt_member_is_another_voter() -> None:
    rebuilt = {Voter(MemberName("b"), 2): seal("b", 9), Voter(MemberName("c"), 1): seal("c", 9)}
    assert resolve(_prior(any_of(1, "b", "c")), rebuilt).bound is None


def test_a_damaged_primary_does_not_resolve_its_own_prior() -> None:
    damaged = {Voter(MemberName("a"), 1): seal("a", 5, damaged=True)}
    assert resolve(_prior(any_of(1, "b", "c")), damaged).bound is None


def test_a_damaged_voter_counts_with_what_it_had_flushed() -> None:
    found = resolve(
        _prior(any_of(2, "b", "c")),
        {Voter(MemberName("b"), 1): seal("b", 5, damaged=True, flushed_lsn=Lsn(8))},
    )
    assert found.bound == at(8)


def test_seals_of_another_incarnation_or_epoch_do_not_count() -> None:
    now = record(epoch=4)
    stale = {
        MemberName("b"): seal("b", 5, epoch=3),
        MemberName("c"): seal("c", 5, incarnation=incarnation("z")),
    }
    assert not sealed_voters(now, stale)
    assert set(sealed_voters(now, {MemberName("b"): seal("b", 5)})) == {Voter(MemberName("b"), 1)}


@given(
    st.lists(st.tuples(st.sampled_from("bc"), st.integers(2, 9), st.integers(1, 8)), min_size=1, max_size=6),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
)
def test_priors_that_are_alike_are_kept_as_one_and_judge_every_candidate_as_before(
    given_up: list[tuple[str, int, int]], ends: dict[str, int]
) -> None:
    priors = [Prior(epoch, MemberName(who), 1, any_of(1, "a"), at(bound)) for who, epoch, bound in given_up]
    kept = with_bounds(resolve_all(priors, {}))
    assert len(kept) == len({who for who, _, _ in given_up})
    later = _sealed(**ends)
    before = max(r.bound for r in resolve_all(priors, later) if r.bound is not None)
    assert max(r.bound for r in resolve_all(kept, later) if r.bound is not None) == before


def test_priors_without_a_bound_or_under_another_rule_stay_apart() -> None:
    open_ones = [_prior(SOLO), _prior(SOLO)]
    assert with_bounds(resolve_all(open_ones, {})) == tuple(open_ones)
    apart = [_prior(SOLO, bound=3), _prior(any_of(1, "b"), bound=3)]
    assert with_bounds(resolve_all(apart, {})) == tuple(apart)
