"""Which orders an agent obeys (R7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.core.lost import renewed
from agents.core.obey import Obeyed, RefusedOrder, Repeated, consider
from agents.core.state import AgentState
from common.assignment import Assignment, Seal, Version, Wait
from common.facts import SealReport
from common.ids import ClusterName, IncarnationId, MemberName
from common.lsn import Lsn

_OURS, _OTHER = IncarnationId("00000000000000aa"), IncarnationId("00000000000000bb")
_STATE = AgentState(ClusterName("c1"), MemberName("a"), _OURS, "77", Version(3, 10))


def _order(epoch: int, revision: int, *, seals: bool = False) -> Assignment:
    order = Seal() if seals else Wait()
    return Assignment(_STATE.cluster, _STATE.member, _OURS, 1, Version(epoch, revision), "77", order)


def _obeyed(assignment: Assignment, state: AgentState = _STATE) -> AgentState:
    verdict = consider(state, assignment)
    assert isinstance(verdict, Obeyed), verdict
    return verdict.state


def test_a_higher_version_is_obeyed_and_becomes_what_is_stored() -> None:
    assert _obeyed(_order(3, 11)).obeyed == Version(3, 11)
    assert _obeyed(_order(4, 1)).obeyed == Version(4, 1)  # compared as a pair


def test_an_older_epoch_or_revision_is_refused() -> None:
    for late in (_order(3, 9), _order(2, 99)):
        assert isinstance(consider(_STATE, late), RefusedOrder)


def test_an_equal_repeat_is_recognised_and_a_different_order_of_the_same_version_refused() -> None:
    state = _obeyed(_order(3, 11))
    assert isinstance(consider(state, _order(3, 11)), Repeated)
    assert isinstance(consider(state, _order(3, 11, seals=True)), RefusedOrder)


@pytest.mark.covers("T28")
def test_an_order_for_another_incarnation_member_cluster_or_identifier_is_refused() -> None:
    order = _order(9, 99)
    for other in (
        {"incarnation": _OTHER},
        {"member": MemberName("b")},
        {"cluster": ClusterName("c2")},
        {"system_identifier": "78"},
    ):
        changed = Assignment(**{f: getattr(order, f) for f in order.__struct_fields__} | other)
        assert isinstance(consider(_STATE, changed), RefusedOrder)


def test_sealing_is_a_promise_that_outlasts_the_next_order_of_the_epoch() -> None:
    sealed = _obeyed(_order(4, 12, seals=True))
    assert sealed.sealed_epoch == 4
    assert _obeyed(_order(4, 13), sealed).sealed_epoch == 4


def test_a_report_of_a_seal_lasts_as_long_as_its_epoch() -> None:
    sealed = replace(_STATE, seal=SealReport(3, _OURS, 3, Lsn(9), None))
    assert _obeyed(_order(3, 11), sealed).seal is not None
    assert _obeyed(_order(4, 1), sealed).seal is None


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 20)), max_size=40))
def test_whatever_arrives_in_whatever_order_the_pair_never_goes_back(versions: list[tuple[int, int]]) -> None:
    state = _STATE
    for epoch, revision in versions:
        before = state.obeyed
        verdict = consider(state, _order(epoch, revision))
        state = verdict.state if isinstance(verdict, Obeyed) else state
        assert state.obeyed == max(before, Version(epoch, revision))


@pytest.mark.covers("R14")
def test_the_highest_number_that_was_given_is_remembered_also_by_the_next_incarnation() -> None:
    given = Assignment(_STATE.cluster, _STATE.member, _OURS, 4, Version(3, 11), "77", Wait())
    state = _obeyed(given)
    assert state.highest_number == 4
    assert renewed(state, _OTHER).highest_number == 4
    assert _obeyed(_order(3, 12), state).highest_number == 4
