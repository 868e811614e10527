"""Switchover and failover as people ask for them: done, waited for, or refused with each member's reason."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from common.facts import Peer, PostgresState
from common.ids import MemberName
from common.lsn import Lsn
from common.timebase import before_ms
from orchestrator.core.decide import decide
from orchestrator.core.effects import Story
from orchestrator.core.events import FailoverAsked, SwitchoverAsked
from orchestrator.core.move import Move
from orchestrator.core.reasons import Reason, Refusal
from orchestrator.core.record import Handover, Phase, Record
from orchestrator.core.view import ClusterView, MemberView
from tests.core.builders import NOW, any_of, heard, record, view

_MIB = 1024 * 1024


def _primary(*streaming: str) -> MemberView:
    peers = tuple(Peer(f"{name}.1@3", "streaming", Lsn(1000)) for name in streaming)
    return heard("a", postgres=PostgresState.PRIMARY, peers=peers)


def _ask(seen: ClusterView, *, to: str | None = None, ms_ago: int = 0) -> Move:
    ask = SwitchoverAsked(before_ms(NOW, ms_ago), "op1", "ann", None if to is None else MemberName(to))
    return decide(replace(seen, asked=(ask,)), NOW)


def _final(move: Move) -> Story:
    (told,) = (e for e in move.effects if isinstance(e, Story) and e.final)
    return told


def test_a_switchover_asks_the_primary_alone_to_stop_first() -> None:
    move = _ask(view(_primary("b", "c"), heard("b"), heard("c")), to="b")
    assert move.reasons[0].reason is Reason.SWITCHOVER_ASKED
    assert move.record is not None
    assert (move.record.phase, move.record.handover) == (
        Phase.SEALING,
        Handover(MemberName("b"), waiting=True),
    )


@pytest.mark.covers("S82")
def test_without_a_target_any_candidate_will_do() -> None:
    move = _ask(view(_primary("b", "c"), heard("b"), heard("c")))
    assert move.record is not None
    assert move.record.handover == Handover(None, waiting=True)


@pytest.mark.covers("S86", "T10", "T11")
@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param({"postgres": PostgresState.STOPPED}, Refusal.POSTGRES_DOWN, id="stopped"),
        pytest.param({"replay_backlog_bytes": 64 * _MIB + 1}, Refusal.TOO_FAR_BEHIND, id="replays_slowly"),
        pytest.param({"replay_paused": True}, Refusal.TOO_FAR_BEHIND, id="replay_is_paused"),
    ],
)
def test_a_standby_that_would_take_long_is_refused_with_what_was_measured(
    facts: dict[str, Any], expected: Refusal
) -> None:
    move = _ask(view(_primary("b", "c"), heard("b", **facts), heard("c", ms_ago=9_000)), to="b")
    assert move.record is None
    assert move.reasons[0].reason is Reason.REFUSED
    assert {r.member: r.refusal for r in _final(move).refused}[MemberName("b")] is expected


def test_a_backlog_of_exactly_the_limit_is_allowed() -> None:
    move = _ask(view(_primary("b", "c"), heard("b", replay_backlog_bytes=64 * _MIB), heard("c")), to="b")
    assert move.record is not None


def test_whoever_the_primary_does_not_see_is_not_handed_over_to() -> None:
    move = _ask(view(_primary("c"), heard("b"), heard("c")), to="b")
    assert {r.member: r.refusal for r in _final(move).refused}[MemberName("b")] is Refusal.NOT_STREAMING


@pytest.mark.covers("T67")
def test_an_open_rule_change_is_waited_for_and_not_for_ever() -> None:
    changing = record(rules=(any_of(1, "b"), any_of(1, "b", "c")), target=any_of(1, "b", "c"))
    seen = view(_primary("b", "c"), heard("b"), heard("c"), of=changing)
    waits = _ask(seen, to="b", ms_ago=9_999)
    assert (waits.record, waits.reasons[0].reason) == (None, Reason.RULE_CHANGE_AWAITED)
    goes_on = _ask(seen, to="b", ms_ago=10_000)
    assert goes_on.record is not None
    assert len(goes_on.record.prior) == 2


@pytest.mark.covers("T67")
@pytest.mark.parametrize("phase", [Phase.SEALING, Phase.PROMOTING])
def test_in_the_middle_of_something_else_it_is_refused_and_not_queued(phase: Phase) -> None:
    now: Record = record(
        epoch=4,
        phase=phase,
        candidate=MemberName("b") if phase is Phase.PROMOTING else None,
    )
    move = _ask(view(heard("a", ms_ago=9_000), heard("b"), heard("c"), of=now))
    assert _final(move).final == "refused"
    assert move.answered == ("op1",)


@pytest.mark.covers("S79")
@pytest.mark.parametrize("force", [False, True])
def test_a_healthy_primary_is_failed_over_by_force_only(force: bool) -> None:
    seen = view(_primary("b", "c"), heard("b"), heard("c"))
    move = decide(replace(seen, asked=(FailoverAsked(NOW, "op1", "ann", force),)), NOW)
    assert (move.record is not None) == force
    assert move.reasons[0].reason is (Reason.FAILOVER_ASKED if force else Reason.REFUSED)


@pytest.mark.covers("S41")
def test_a_forced_failover_out_of_reach_seals_all_the_same_and_says_who_is_missing() -> None:
    """The one way to stop a primary by order: nobody serves until enough of them answer."""
    seen = view(
        heard("a", ms_ago=9_000, postgres=PostgresState.PRIMARY), heard("b"), heard("c", ms_ago=9_000)
    )
    move = decide(replace(seen, asked=(FailoverAsked(NOW, "op1", "ann", True),)), NOW)
    assert move.record is not None
    assert move.record.phase is Phase.SEALING
    assert [b.reason for b in move.reasons] == [Reason.FAILOVER_ASKED, Reason.SEALS_OUT_OF_REACH]
