"""Who is chosen, and why each other one is not (R3, R5)."""

from __future__ import annotations

from typing import Any

import pytest

from common.assignment import HistoryStep, Position
from common.facts import SealReport
from common.ids import MemberName
from common.lsn import Lsn
from common.rule import Rule, Voter
from orchestrator.core.candidates import Choice, attaches, choose, history_of
from orchestrator.core.reasons import Refusal
from orchestrator.core.record import Phase, Prior, Record
from tests.core.builders import any_of, at, heard, member, record, seal, view


def _choose(
    *seals: SealReport,
    of: Record | None = None,
    bounds: tuple[Position, ...] = (at(0),),
    k: int = 1,
    to: str | None = None,
) -> Choice:
    now = of if of is not None else record(epoch=4, phase=Phase.SEALING)
    by_incarnation = {m.incarnation: m for m in now.members}
    sealed = {by_incarnation[s.incarnation].voter: s for s in seals}
    seen = view(heard("a"), heard("b"), heard("c"), of=now)
    return choose(now, seen, sealed, bounds, k=k, to=None if to is None else MemberName(to))


def _refusal(choice: Choice, name: str) -> Refusal:
    return next(r.refusal for r in choice.ranking.refused if r.member == name)


def test_differing_in_nothing_but_lsn_the_most_advanced_is_chosen() -> None:
    assert _choose(seal("b", 1000), seal("c", 1001)).ranking.best == "c"
    assert _choose(seal("b", 1001), seal("c", 1000)).ranking.best == "b"


def test_equals_are_told_apart_by_name() -> None:
    assert _choose(seal("b", 1000), seal("c", 1000)).ranking.best == "b"


@pytest.mark.covers("T14")
def test_a_newer_timeline_is_more_advanced_than_a_higher_lsn() -> None:
    assert _choose(seal("b", 900, timeline=3), seal("c", 5000, timeline=2)).ranking.best == "b"


def test_who_is_below_a_bound_is_refused_with_both_values() -> None:
    choice = _choose(seal("b", 999), seal("c", 1000), bounds=(at(1000),))
    assert choice.ranking.best == "c"
    assert _refusal(choice, "b") is Refusal.BELOW_BOUND
    text = next(r.text for r in choice.ranking.refused if r.member == "b")
    assert str(at(999)) in text
    assert str(at(1000)) in text


def test_exactly_at_the_bound_is_enough() -> None:
    assert _choose(seal("b", 1000), bounds=(at(1000),)).ranking.best == "b"


@pytest.mark.parametrize(
    ("changes", "sealed", "expected"),
    [
        pytest.param({"nofailover": True}, seal("b", 2000), Refusal.NOFAILOVER, id="nofailover"),
        pytest.param({}, None, Refusal.NOT_SEALED, id="not_sealed"),
        pytest.param({}, seal("b", 900, damaged=True, flushed_lsn=Lsn(2000)), Refusal.DAMAGED, id="damaged"),
        pytest.param({}, seal("b", 900), Refusal.RANKED_LOWER, id="ranked_lower"),
    ],
)
def test_each_refusal_has_its_name(
    changes: dict[str, Any], sealed: SealReport | None, expected: Refusal
) -> None:
    members = (member("a"), member("b", **changes), member("c"))
    now = record(epoch=4, phase=Phase.SEALING, members=members)
    seals = [seal("c", 1000)] + ([sealed] if sealed is not None else [])
    choice = _choose(*seals, of=now)
    assert choice.ranking.best == "c"
    assert _refusal(choice, "b") is expected


def test_an_outgoing_primary_that_must_not_take_over_goes_on_where_nobody_else_may() -> None:
    """`nofailover` keeps a member from taking over (seed 9979652)."""
    members = (member("a", nofailover=True), member("b", nofailover=True), member("c"))
    now = record(epoch=4, phase=Phase.SEALING, members=members)
    alone = _choose(seal("a", 2000), seal("b", 2000), seal("c", 900), of=now, bounds=(at(1000),))
    assert (alone.ranking.best, _refusal(alone, "b")) == ("a", Refusal.NOFAILOVER)
    assert _choose(seal("a", 2000), seal("c", 1000), of=now, bounds=(at(1000),)).ranking.best == "c"


@pytest.mark.covers("S71")
def test_priority_counts_more_than_the_position_but_not_more_than_followers() -> None:
    members = (member("a"), member("b", priority=200), member("c"))
    now = record(epoch=4, phase=Phase.SEALING, members=members)
    assert _choose(seal("b", 1000), seal("c", 1000), of=now).ranking.best == "b"
    # Promoted at 999, b would leave c, which is past it, unable to follow: nobody could acknowledge.
    assert _choose(seal("b", 999), seal("c", 1000), of=now).ranking.best == "c"


def test_where_nobody_leaves_k_able_to_follow_whoever_leaves_more_comes_first() -> None:
    members = (member("a"), member("b"), member("c", priority=200))
    now = record(epoch=4, phase=Phase.SEALING, members=members, rules=(any_of(2, "b", "c"),))
    choice = _choose(seal("b", 1000), seal("c", 999), of=now, k=2)
    assert choice.ranking.best == "b"
    assert choice.rule == any_of(1, "c")
    assert (
        choice.ranking.refused[-1].text
        == "b is preferred: 1 of the 2 wanted could follow it, 0 could follow c"
    )


@pytest.mark.parametrize(
    ("b", "c", "seals", "text"),
    [
        pytest.param({}, {}, (1000, 1000), "all else is alike, its name comes first", id="name"),
        pytest.param(
            {"site": "x"},
            {"site": "y"},
            (999, 1001),
            "it is in the primary's site, x; c is in y",
            id="site before position",
        ),
        pytest.param(
            {"priority": 200, "site": "y"},
            {"site": "x"},
            (999, 1001),
            "priority 200 against 100",
            id="priority before site",
        ),
        pytest.param({}, {}, (1001, 999), f"position {at(1001)} against {at(999)}", id="position"),
    ],
)
def test_the_words_name_the_first_thing_that_told_them_apart(
    b: dict[str, Any], c: dict[str, Any], seals: tuple[int, int], text: str
) -> None:
    members = (member("a", site="x"), member("b", **b), member("c", **c))
    now = record(epoch=4, phase=Phase.SEALING, members=members)
    choice = _choose(seal("b", seals[0]), seal("c", seals[1]), of=now, k=0)
    assert choice.ranking.best == "b"
    assert choice.ranking.refused[-1].text == f"b is preferred: {text}"


def test_who_has_less_to_replay_is_preferred_and_both_backlogs_are_said() -> None:
    now = record(epoch=4, phase=Phase.SEALING)
    seen = view(heard("b", replay_backlog_bytes=9 << 20), heard("c", replay_backlog_bytes=3), of=now)
    sealed = {m.voter: seal(m.name, 1000) for m in now.members if m.name != "a"}
    choice = choose(now, seen, sealed, (at(0),), k=1, to=None)
    assert choice.ranking.best == "c"
    assert _refusal(choice, "b") is Refusal.RANKED_LOWER
    assert any(r.text == "c is preferred: 3 bytes to replay against 9437184" for r in choice.ranking.refused)


def test_who_was_asked_for_is_preferred() -> None:
    assert _choose(seal("b", 1000), seal("c", 1000), to="c").ranking.best == "c"


def test_the_outgoing_primary_and_a_candidate_given_up_come_last() -> None:
    assert _choose(seal("a", 2000), seal("b", 1000)).ranking.best == "b"
    gave_up = Prior(3, MemberName("b"), 1, any_of(1, "c"))
    now = record(epoch=4, phase=Phase.SEALING, prior=(gave_up,))
    choice = _choose(seal("b", 1000), seal("c", 1000), of=now)
    assert choice.ranking.best == "c"
    assert _refusal(choice, "b") is Refusal.GAVE_UP_BEFORE


def test_r_new_names_only_sealed_members_that_can_attach_as_they_are() -> None:
    assert _choose(seal("b", 1000), seal("c", 1000)).rule == any_of(1, "c")
    assert _choose(seal("b", 1000), seal("c", 1000), seal("a", 1000)).rule == any_of(1, "a", "c")
    past = _choose(seal("b", 1000), seal("a", 1001))  # the old primary is past the switch point
    assert past.ranking.best == "b"
    assert past.rule is not None
    assert not past.rule.waits


def test_a_member_attaches_up_to_the_switch_point_and_not_past_it() -> None:
    history = (HistoryStep(1, Lsn(100)), HistoryStep(2, Lsn(200)))
    assert attaches(at(200, 2), at(500), history)
    assert not attaches(at(201, 2), at(500), history)
    assert not attaches(at(50, 9), at(500), history)
    assert attaches(at(500), at(500), ())
    assert not attaches(at(501), at(500), ())


def test_the_history_of_an_older_timeline_is_a_part_of_the_records() -> None:
    history = (HistoryStep(1, Lsn(100)), HistoryStep(2, Lsn(200)))
    now = record(history=history)
    assert history_of(now, 3) == history
    assert history_of(now, 2) == history[:1]
    assert history_of(now, 1) == ()
    assert history_of(now, 8) is None


def test_a_rule_of_one_is_never_made_of_two_incarnations() -> None:
    with pytest.raises(ValueError, match="one incarnation"):
        Rule(any_of(1, "b").kind, (Voter(MemberName("b"), 1), Voter(MemberName("b"), 2)), 1)
