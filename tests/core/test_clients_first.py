"""Right after a failover clients come back: what nobody waits for comes after them, and who they wait for first."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from common.assignment import Follow, Promote
from common.facts import PostgresState
from common.ids import MemberName
from common.rule import SOLO, Rule, Voter, quorum
from common.timebase import before_ms
from orchestrator.core.assign import assignments
from orchestrator.core.record import Operation, Phase, Prior
from orchestrator.core.stories import CLIENTS_FIRST_MS, tell, wanted_names
from orchestrator.core.view import Names, Writes
from tests.core.builders import NOW, any_of, at, heard, member, record, view, voters


@pytest.mark.parametrize(
    ("changes", "order"),
    [
        pytest.param({"rules": (any_of(1, "c"),)}, ["c", "a", "b"], id="the_voter_before_the_primary"),
        pytest.param({"phase": Phase.SEALING}, ["b", "c", "a"], id="those_whose_seals_decide"),
        pytest.param(
            {"phase": Phase.PROMOTING, "candidate": MemberName("c"), "candidate_position": at(1000)},
            ["c", "a", "b"],
            id="the_candidate",
        ),
    ],
)
def test_orders_are_sent_to_those_first_whom_commits_wait_for(
    changes: dict[str, Any], order: list[str]
) -> None:
    sent = assignments(record(**changes), 11)
    assert [assignment.member for assignment in sent] == order
    assert isinstance(sent[0].order, Promote) == ("candidate" in changes)


@pytest.mark.parametrize(
    ("rule", "outgoing", "awaited"),
    [
        pytest.param(any_of(1, "b", "c", "d"), "", {"b"}, id="one_is_enough"),
        pytest.param(any_of(2, "b", "c", "d"), "", {"b", "c"}, id="two_are_needed"),
        pytest.param(any_of(1, "b", "c", "d"), "b", {"c"}, id="the_old_primary_is_started_first"),
        pytest.param(any_of(2, "b", "c"), "b", {"b", "c"}, id="nobody_else_is_there"),
        pytest.param(
            quorum((Voter(MemberName("b"), 9), *voters("c", "d")), 1), "", {"c"}, id="one_is_another_by_now"
        ),
        pytest.param(SOLO, "", set[str](), id="no_commit_waits"),
    ],
)
def test_as_many_voters_as_commits_wait_for_attach_before_the_others(
    rule: Rule, outgoing: str, awaited: set[str]
) -> None:
    prior = tuple(Prior(2, MemberName(name), 1, any_of(1, "a")) for name in outgoing)
    now = record(members=tuple(map(member, "abcd")), rules=(rule,), prior=prior)
    sent = assignments(now, 11)
    assert {one.member for one in sent if isinstance(one.order, Follow) and one.order.awaited} == awaited
    assert {one.member for one in sent[: len(awaited)]} == awaited


@pytest.mark.parametrize(("stable_for_ms", "ends"), [(CLIENTS_FIRST_MS - 1, False), (CLIENTS_FIRST_MS, True)])
@pytest.mark.parametrize("kind", ["automatic", "switchover"])
def test_an_operation_ends_once_clients_are_back(kind: str, stable_for_ms: int, ends: bool) -> None:
    operation = Operation("", "automatic", "it") if kind == "automatic" else Operation("4711", kind, "alice")
    now = record(operation=operation)
    primary = replace(
        heard("a", postgres=PostgresState.PRIMARY),
        writes=Writes(last_at=NOW, last_epoch=3, first_at=before_ms(NOW, 1), first_epoch=3),
    )
    seen = view(primary, of=now, phase_since=before_ms(NOW, stable_for_ms))
    assert seen.spec is not None
    stands = replace(seen, names=Names(confirmed=wanted_names(now, seen.spec, 10)))
    move = tell(now, stands, seen.spec, NOW)
    assert (move.record is not None) is ends
    assert (move.record is not None and move.record.operation is None) is ends
