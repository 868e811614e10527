"""The (V, k) arithmetic (R2, R6)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.ids import MemberName
from common.rule import ASYNC, SOLO, Rule, RuleKind, Voter, is_one_step, next_step, quorum, steps

_VOTERS = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 2), max_size=5).map(
    lambda chosen: [Voter(MemberName(name), number) for name, number in chosen.items()]
)
_RULES = st.builds(quorum, _VOTERS, st.integers(1, 5)) | st.just(ASYNC)


@pytest.mark.covers("S56")
@given(_RULES, _RULES)
def test_each_step_is_one_step_and_the_last_one_arrives(a: Rule, b: Rule) -> None:
    way = [a, *steps(a, b)]
    assert way[-1] == b
    assert all(is_one_step(x, y) for x, y in pairwise(way)), way
    assert len(way) <= 6


@given(_RULES, _RULES)
def test_k_is_never_above_the_number_of_voters_nor_below_both_ends(a: Rule, b: Rule) -> None:
    for rule in steps(a, b):
        if rule.waits:
            assert 1 <= rule.k <= len(rule.voters)


@given(_RULES, _RULES)
def test_taking_the_next_step_again_and_again_arrives(a: Rule, b: Rule) -> None:
    at = a
    for _ in range(12):
        step = next_step(at, b)
        if step is None:
            break
        at = step
    assert at == b


@given(_RULES)
def test_enough_seals_leave_fewer_than_k_unsealed(rule: Rule) -> None:
    if rule.waits:
        unsealed = len(rule.voters) - rule.seals_needed
        assert unsealed == rule.k - 1


def test_one_step_changes_only_k_or_only_adds_or_only_removes() -> None:
    b, c, d = (Voter(MemberName(n), 1) for n in "bcd")
    assert is_one_step(quorum([b, c], 1), quorum([b, c], 2))
    assert is_one_step(quorum([b], 1), quorum([b, c], 1))
    assert is_one_step(quorum([b, c], 1), SOLO)
    assert not is_one_step(quorum([b], 1), quorum([b], 1))
    assert not is_one_step(quorum([b], 1), quorum([b, c], 2))
    assert not is_one_step(quorum([b], 1), quorum([c], 1))
    assert not is_one_step(quorum([b, c], 1), quorum([b, d], 1))


@pytest.mark.covers("T5")
def test_the_setting_names_member_incarnation_and_epoch() -> None:
    rule = quorum([Voter(MemberName("c"), 1), Voter(MemberName("b"), 3)], 1)
    assert rule.synchronous_standby_names(7) == 'ANY 1 ("b.3@7","c.1@7")'
    assert SOLO.synchronous_standby_names(7) == ""


def test_an_impossible_rule_can_not_be_made() -> None:
    b = Voter(MemberName("b"), 1)
    with pytest.raises(ValueError, match="k must lie"):
        Rule(RuleKind.QUORUM, (b,), 2)
    with pytest.raises(ValueError, match="has no voters"):
        Rule(RuleKind.SOLO, (b,), 1)
