"""The birth of a cluster, and a record that was lost or comes from elsewhere: when nothing is begun."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from common.assignment import Version
from common.facts import NO_VERSION, PostgresState
from common.ids import MemberName
from common.timebase import before_ms
from orchestrator.core.decide import decide
from orchestrator.core.move import Move
from orchestrator.core.reasons import Reason
from orchestrator.core.record import Phase
from orchestrator.core.view import ClusterView, Leading, MemberView
from tests.core.builders import NOW, heard, record, view


def _newcomer(name: str, *, ms_ago: int = 100, **facts: object) -> MemberView:
    plain = {"postgres": PostgresState.ABSENT, "system_identifier": "", "obeyed": NO_VERSION, "timeline": 0}
    return heard(name, ms_ago=ms_ago, **{**plain, **facts})  # type: ignore[arg-type]


def _unborn(*members: MemberView, leading_ms: int = 60_000, **leading: object) -> ClusterView:
    led = Leading(5, before_ms(NOW, leading_ms), 7, ())
    return replace(view(*members), record=None, leading=replace(led, **leading))


def _reasons(move: Move) -> list[Reason]:
    return [because.reason for because in move.reasons]


def test_without_a_lead_or_a_record_as_read_nothing_is_decided() -> None:
    seen = view(heard("a"))
    assert _reasons(decide(replace(seen, leading=None), NOW)) == [Reason.WARMING_UP]
    assert _reasons(decide(replace(seen, record=None, record_known=False), NOW)) == [Reason.NO_RECORD]


def test_one_member_initialises_once_all_were_heard_or_waited_for() -> None:
    all_three = _unborn(_newcomer("a"), _newcomer("b"), _newcomer("c"), leading_ms=10)
    move = decide(all_three, NOW)
    assert _reasons(move) == [Reason.INITIALISING_CHOSEN]
    assert move.record is not None
    assert (move.record.phase, move.record.primary, move.record.epoch) == (Phase.INITIALISING, "a", 1)
    two = (_newcomer("a"), _newcomer("b"))
    assert _reasons(decide(_unborn(*two, leading_ms=2_999), NOW)) == [Reason.INITIALISING_WAITS]
    assert _reasons(decide(_unborn(*two, leading_ms=3_000), NOW)) == [Reason.INITIALISING_CHOSEN]


@pytest.mark.covers("T29")
def test_nothing_is_initialised_beside_a_data_directory_that_no_record_knows() -> None:
    full = _newcomer("b", postgres=PostgresState.STOPPED, system_identifier="77")
    move = decide(_unborn(_newcomer("a"), full, _newcomer("c")), NOW)
    assert _reasons(move) == [Reason.FOREIGN_DATA_DIRECTORY]
    assert move.record is None


@pytest.mark.covers("T65", "T29")
def test_a_record_that_somebody_remembers_is_not_born_again() -> None:
    obeyed = _newcomer("b", obeyed=Version(3, 10))
    assert _reasons(decide(_unborn(_newcomer("a"), obeyed), NOW)) == [Reason.RECORD_WENT_BACK]
    seen_by_us = _unborn(_newcomer("a"), highest_seen=Version(3, 10))
    assert _reasons(decide(seen_by_us, NOW)) == [Reason.RECORD_WENT_BACK]


@pytest.mark.covers("T65", "S54")
def test_a_record_of_another_etcd_stops_the_leader() -> None:
    elsewhere = record(etcd_cluster_id=8)
    move = decide(view(heard("a"), heard("b"), heard("c"), of=elsewhere), NOW)
    assert _reasons(move) == [Reason.FOREIGN_ETCD]
    assert (move.record, move.effects) == (None, ())


@pytest.mark.parametrize(
    "known",
    [
        pytest.param({"highest_number": 2}, id="stored_by_its_agent"),
        pytest.param({"rule_in_force": 'ANY 1 ("b.1@3","c.2@3")'}, id="counted_by_a_rule_in_force"),
    ],
)
@pytest.mark.covers("R14")
def test_a_record_that_forgot_an_incarnation_stops_the_leader(known: dict[str, Any]) -> None:
    knows = decide(view(heard("a"), heard("b"), heard("c", highest_number=1)), NOW)
    assert Reason.RECORD_WENT_BACK not in _reasons(knows)
    forgot = decide(view(heard("a"), heard("b"), heard("c", **known)), NOW)
    assert _reasons(forgot) == [Reason.RECORD_WENT_BACK]
    assert (forgot.record, forgot.effects) == (None, ())


@pytest.mark.parametrize(
    ("silence_ms", "reason", "epoch"),
    [
        pytest.param(59_999, Reason.INITIALISING_WAITS, None, id="still_waited_for"),
        pytest.param(60_000, Reason.INITIALISING_WITHDRAWN, 2, id="another_one_is_chosen"),
    ],
)
def test_an_initialiser_that_fell_silent_is_withdrawn_in_time(
    silence_ms: int, reason: Reason, epoch: int | None
) -> None:
    now = record(epoch=1, phase=Phase.INITIALISING, system_identifier="", timeline=0, timeline_max=0)
    gone = _newcomer("a", ms_ago=silence_ms)
    seen = view(
        gone, _newcomer("b"), _newcomer("c"), of=now, phase_since=before_ms(NOW, silence_ms), revision=1
    )
    move = decide(seen, NOW)
    assert move.reasons[0].reason is reason
    assert (None if move.record is None else (move.record.epoch, move.record.primary)) == (
        None if epoch is None else (epoch, "b")
    )


def test_the_first_primary_starts_in_solo_on_the_first_timeline() -> None:
    now = record(epoch=1, phase=Phase.INITIALISING, system_identifier="", timeline=0, timeline_max=0)
    made = heard("a", postgres=PostgresState.STOPPED, obeyed=Version(1, 10))
    move = decide(view(made, _newcomer("b"), _newcomer("c"), of=now), NOW)
    assert _reasons(move) == [Reason.INITIALISED]
    assert move.record is not None
    assert (move.record.phase, move.record.timeline, move.record.rule.waits) == (Phase.STABLE, 1, False)


@pytest.mark.covers("T28")
def test_a_directory_of_another_cluster_is_never_adopted() -> None:
    stranger = heard("b", system_identifier="99", incarnation="f" * 16)
    now = record()
    seen = view(heard("a", postgres=PostgresState.PRIMARY), stranger, heard("c"), of=now)
    move = decide(seen, NOW)
    assert Reason.INCARNATION_ADOPTED not in _reasons(move)
    same = heard("b", incarnation="f" * 16)
    move = decide(view(heard("a", postgres=PostgresState.PRIMARY), same, heard("c"), of=now), NOW)
    assert Reason.INCARNATION_ADOPTED in _reasons(move)
    assert move.record is not None
    assert move.record.the(MemberName("b")).number == 2
