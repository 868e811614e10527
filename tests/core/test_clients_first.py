"""Right after a failover clients come back: what nobody waits for comes after them, and who they wait for first."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from common.assignment import Promote
from common.facts import PostgresState
from common.ids import MemberName
from common.timebase import before_ms
from orchestrator.core.assign import assignments
from orchestrator.core.record import Operation, Phase
from orchestrator.core.stories import CLIENTS_FIRST_MS, tell, wanted_names
from orchestrator.core.view import Names, Writes
from tests.core.builders import NOW, any_of, at, heard, record, view


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
