"""SEALING as the leader sees it: who is awaited, for how long, and when nobody will do."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from common.assignment import Version
from common.facts import PostgresState, SealReport
from common.ids import MemberName
from common.lsn import Lsn
from common.timebase import before_ms
from orchestrator.core.decide import decide
from orchestrator.core.effects import Story
from orchestrator.core.move import Move
from orchestrator.core.priors import on_leaving
from orchestrator.core.reasons import Reason, Refusal
from orchestrator.core.record import Handover, Phase, Record
from orchestrator.core.view import ClusterView, MemberView
from tests.core.builders import NOW, any_of, heard, member, record, seal, view

_GONE = heard("a", ms_ago=9_000, postgres=PostgresState.PRIMARY)


def _sealed(name: str, report: SealReport | None) -> MemberView:
    return heard(name, seal=report, obeyed=Version(4, 11))


def _sealing(**changes: object) -> Record:

    return record(**{"epoch": 4, "phase": Phase.SEALING, "prior": on_leaving(record()), **changes})


def _decide(*members: MemberView, of: Record, since_ms: int = 100) -> Move:
    seen: ClusterView = view(*members, of=of, phase_since=before_ms(NOW, since_ms), revision=11)
    return decide(seen, NOW)


def _reasons(move: Move) -> list[Reason]:
    return [because.reason for because in move.reasons]


def test_a_seal_that_changes_nothing_yet_is_noted_after_a_while() -> None:
    """Its disk may die after the report; mostly the next seal, milliseconds later, keeps them all."""
    one = (_GONE, _sealed("b", seal("b", 1000)), _sealed("c", None))
    soon = _decide(*one, of=_sealing(), since_ms=249)
    assert (soon.record, _reasons(soon)) == (None, [Reason.SEALS_AWAITED])
    late = _decide(*one, of=_sealing(), since_ms=250)
    assert _reasons(late) == [Reason.SEAL_NOTED, Reason.SEALS_AWAITED]
    assert late.record is not None
    assert [name for name, _ in late.record.seals] == ["b"]
    [story] = [effect for effect in late.effects if isinstance(effect, Story)]
    assert story.text.startswith("sealed: b at 3@0/3E8; missing: 1 of c.1, or a.1"), (
        "and the history says for whom"
    )


def test_with_enough_seals_a_member_that_answers_is_awaited_a_moment_longer() -> None:
    four = record(members=tuple(member(name) for name in "abcd"), rules=(any_of(2, "b", "c", "d"),))

    now = replace(four, epoch=4, phase=Phase.SEALING, prior=on_leaving(four))
    members = (_GONE, _sealed("b", seal("b", 1000)), _sealed("c", seal("c", 1000)), _sealed("d", None))
    assert _reasons(_decide(*members, of=now)) == [Reason.BETTER_CANDIDATE_AWAITED]
    gone = (*members[:3], heard("d", ms_ago=9_000))
    chosen = _decide(*gone, of=now)
    assert _reasons(chosen) == [Reason.CANDIDATE_CHOSEN]


@pytest.mark.covers("S73", "T48")
def test_where_everybody_lacks_what_was_acknowledged_nobody_is_chosen_and_each_is_named() -> None:
    """The peer compares a lag with a limit; Primacy the position with what may have been acknowledged. Here the
    voter that had it all has lost a part of its disk, and the other one never had it."""
    damaged = seal("b", 900, damaged=True, flushed_lsn=Lsn(2000))
    move = _decide(_GONE, _sealed("b", damaged), _sealed("c", seal("c", 1000)), of=_sealing())
    assert (move.record, _reasons(move)) == (None, [Reason.NO_CANDIDATE_MEETS_THE_BOUNDS])
    assert move.ranking is not None
    assert move.ranking.best is None
    assert {r.member: r.refusal for r in move.ranking.refused} == {
        "a": Refusal.NOT_SEALED,
        "b": Refusal.DAMAGED,
        "c": Refusal.BELOW_BOUND,
    }


@pytest.mark.covers("T10")
def test_among_equals_the_smaller_replay_backlog_is_chosen() -> None:
    slow = heard("b", seal=seal("b", 1000), obeyed=Version(4, 11), replay_backlog_bytes=5 * 1024 * 1024)
    move = _decide(_GONE, slow, _sealed("c", seal("c", 1000)), of=_sealing())
    assert move.record is not None
    assert move.record.candidate == "c"


@pytest.mark.covers("T50")
def test_at_a_switchover_the_primary_is_waited_for_and_then_no_longer() -> None:
    now = _sealing(handover=Handover(MemberName("b"), waiting=True))
    drain_ms = 5_000 + 1_000
    members = (_GONE, _sealed("b", None), _sealed("c", None))
    assert _reasons(_decide(*members, of=now, since_ms=drain_ms - 1)) == [Reason.SEALING_WAITS_FOR_PRIMARY]
    over = _decide(*members, of=now, since_ms=drain_ms)
    assert _reasons(over) == [Reason.HANDOVER_TIME_IS_UP]
    assert over.record is not None
    assert over.record.handover == Handover(MemberName("b"), waiting=False)
