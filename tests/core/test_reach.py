"""When the leader may leave an epoch (R1, "When")."""

from __future__ import annotations

import pytest

from common.assignment import Version
from common.facts import PostgresState
from common.ids import MemberName
from common.rule import SOLO
from orchestrator.core.reach import reach
from orchestrator.core.reasons import Reason, Refusal
from orchestrator.core.record import Phase, Prior
from orchestrator.core.view import MemberView
from tests.core.builders import NOW, POLICY, any_of, at, heard, incarnation, member, record, view

_CRASHED = heard("a", postgres=PostgresState.STOPPED)
_GONE = heard("a", ms_ago=700, postgres=PostgresState.PRIMARY)
"""Silent for a primary, not yet for a standby."""


def _why(*members: MemberView, **changes: object) -> list[Reason]:
    now = record(**changes)
    return [because.reason for because in reach(now, view(*members, of=now), NOW, POLICY).why_not]


def test_a_lost_primary_is_left_when_both_voters_answer() -> None:
    assert _why(_GONE, heard("b"), heard("c")) == []


def test_a_silent_primary_does_not_count_as_one_that_answers() -> None:
    assert _why(_GONE, heard("b")) == [Reason.SEALS_OUT_OF_REACH]


@pytest.mark.covers("T7")
def test_who_fell_silent_together_with_the_primary_does_not_count_as_one_that_answers() -> None:
    """Both were heard 700 ms ago: too long for a primary, not yet for a standby. One path to both was cut."""
    assert _why(_GONE, heard("b", ms_ago=700), heard("c")) == [Reason.SEALS_OUT_OF_REACH]
    assert _why(_GONE, heard("b", ms_ago=551), heard("c")) == [Reason.SEALS_OUT_OF_REACH]
    assert _why(_GONE, heard("b", ms_ago=550), heard("c")) == []


def test_a_crashed_primary_whose_agent_answers_resolves_its_own_prior() -> None:
    assert _why(_CRASHED, heard("b")) == []


def test_solo_is_left_only_when_the_primary_itself_answers() -> None:
    assert Reason.SEALS_OUT_OF_REACH in _why(_GONE, heard("b"), heard("c"), rules=(SOLO,))


def test_both_rules_of_an_open_change_must_be_resolvable() -> None:
    rules = (any_of(1, "b", "c"), any_of(1, "b"))
    assert _why(_GONE, heard("b"), rules=rules, target=rules[1]) == [Reason.SEALS_OUT_OF_REACH]
    assert _why(_GONE, heard("b"), heard("c"), rules=rules, target=rules[1]) == []


def test_an_older_prior_with_a_bound_must_be_met_by_name() -> None:
    older = Prior(2, MemberName("a"), 1, SOLO, at(2000))
    why = _why(_GONE, heard("b", end=1999), heard("c", end=1999), prior=(older,))
    assert why == [Reason.CANDIDATE_OUT_OF_REACH]
    assert _why(_GONE, heard("b", end=2000), heard("c"), prior=(older,)) == []


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(heard("b", ms_ago=5_000), Refusal.SILENT, id="silent"),
        pytest.param(heard("b", incarnation=incarnation("z")), Refusal.NO_INCARNATION, id="not_adopted"),
        pytest.param(heard("b", postgres=PostgresState.HALF), Refusal.REBUILDING, id="rebuilding"),
    ],
)
def test_who_could_not_take_over_is_named_with_the_reason(seen: MemberView, expected: Refusal) -> None:
    now = record()
    found = reach(now, view(_GONE, seen, heard("c"), of=now), NOW, POLICY)
    assert {r.member: r.refusal for r in found.refused} == {"a": Refusal.IS_PRIMARY, "b": expected}


def test_only_the_member_meant_will_do() -> None:
    found = reach(record(), view(heard("a"), heard("b"), heard("c")), NOW, POLICY, to=MemberName("c"))
    assert found.candidates == ("c",)


def test_a_member_that_must_never_take_over_is_not_counted_on() -> None:
    now = record(members=(member("a"), member("b", nofailover=True), member("c", nofailover=True)))
    found = reach(now, view(_CRASHED, heard("b"), heard("c"), of=now), NOW, POLICY)
    assert [b.reason for b in found.why_not] == [Reason.CANDIDATE_OUT_OF_REACH]


def test_the_outgoing_primary_may_go_on_though_it_must_not_take_over() -> None:
    """A switchover away from it whose candidate died (R3)."""
    bound = Prior(2, MemberName("a"), 1, any_of(1, "b"), at(2000))
    members = (member("a", nofailover=True), member("b"))
    now = record(
        members=members, phase=Phase.PROMOTING, candidate=MemberName("b"), rules=(SOLO,), prior=(bound,)
    )
    stopped = heard("a", end=2000, postgres=PostgresState.STOPPED, obeyed=Version(3, 10))
    assert reach(now, view(stopped, of=now), NOW, POLICY).candidates == ("a",)


def test_a_candidate_that_is_given_up_may_be_the_next_epochs_where_only_it_has_everything() -> None:
    bound = Prior(2, MemberName("a"), 1, any_of(1, "b"), at(2000))
    now = record(phase=Phase.PROMOTING, candidate=MemberName("b"), rules=(any_of(1, "c"),), prior=(bound,))
    obeyed = Version(3, 10)
    seen = view(heard("b", end=2000, obeyed=obeyed), heard("c", end=1000, obeyed=obeyed), of=now)
    found = reach(now, seen, NOW, POLICY)
    assert found.why_not == ()
    assert found.candidates == ("b",)
