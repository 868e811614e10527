"""What one version of the record asks of whom (R7)."""

from __future__ import annotations

from common.assignment import AnyOrder, Promote, Seal, Successor, Upstream, Version
from common.ids import MemberName
from common.rule import SOLO
from orchestrator.core.assign import assignments
from orchestrator.core.record import Phase, Record
from tests.core.builders import any_of, at, member, record

C = MemberName("c")


def promoting(**changes: object) -> Record:
    """Of four members c is the candidate of epoch 4, on timeline 5, under ANY 1 (b)."""
    fields: dict[str, object] = {
        "epoch": 4,
        "phase": Phase.PROMOTING,
        "members": tuple(member(name) for name in "abcd"),
        "candidate": C,
        "candidate_position": at(1000),
        "timeline_max": 5,
        "rules": (any_of(1, "b"),),
    }
    return record(**{**fields, **changes})


def orders(said: Record) -> dict[str, AnyOrder]:
    return {one.member: one.order for one in assignments(said, 40)}


def test_the_voters_of_the_next_rule_are_told_whom_they_will_follow_and_nobody_else_is() -> None:
    told = orders(promoting())
    assert isinstance(told["c"], Promote)
    assert told["b"] == Seal(successor=Successor(Upstream(C, "10.0.0.3", 5432), 5))
    assert told["a"] == told["d"] == Seal()


def test_another_incarnation_of_a_voter_is_told_nothing_of_it() -> None:
    """Its slot would have another name (R5), and its log may have another past (R13)."""
    members = tuple(member(name, number=2 if name == "b" else 1) for name in "abcd")
    assert orders(promoting(members=members))["b"] == Seal()


def test_a_candidate_that_will_be_alone_is_waited_for_by_nobody() -> None:
    told = orders(promoting(rules=(SOLO,)))
    assert told["a"] == told["b"] == Seal()


def test_each_order_carries_its_version_and_its_incarnation() -> None:
    said = promoting()
    for one in assignments(said, 40):
        assert one.version == Version(4, 40)
        assert one.incarnation == said.the(one.member).incarnation
