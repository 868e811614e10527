"""A leader that hears nobody, while another control node does, is the one that is cut off."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from common.ids import MemberName
from common.timebase import before_ms
from orchestrator.core.decide import decide
from orchestrator.core.effects import AskObservers, StandDown
from orchestrator.core.isolation import isolated
from orchestrator.core.reasons import Reason
from orchestrator.core.record import Phase, Record
from orchestrator.core.view import ClusterView, Leading, Suspicion
from tests.core.builders import NOW, POLICY, heard, record, view

SILENT = 5_000


def _hears_nobody(
    of: Record | None = None, *, primary: str = "a", elsewhere_ms: int | None = None
) -> ClusterView:
    seen = view(*(heard(name, ms_ago=SILENT) for name in "abc"), of=of)
    leading = Leading(5, before_ms(NOW, 60_000), 7, ("ctl2", "ctl3"))
    heard_at = None if elsewhere_ms is None else before_ms(NOW, elsewhere_ms)
    suspicion = Suspicion(
        MemberName(primary),
        before_ms(NOW, 300),
        before_ms(NOW, 100),
        frozenset(),
        heard_elsewhere_at=heard_at,
    )
    return replace(seen, leading=leading, suspicion=suspicion)


def _effects(seen: ClusterView) -> tuple[object, ...]:
    return decide(seen, NOW).effects


@pytest.mark.covers("S17", "T70")
def test_it_stands_down_when_another_control_node_hears_the_primary() -> None:
    decided = decide(_hears_nobody(elsewhere_ms=150), NOW)
    assert any(isinstance(effect, StandDown) for effect in decided.effects)
    assert Reason.OBSERVER_STANDS_DOWN in [because.reason for because in decided.reasons]


@pytest.mark.parametrize(
    "elsewhere_ms",
    [pytest.param(None, id="nobody_hears_it"), pytest.param(1_001, id="nobody_hears_it_any_more")],
)
def test_it_stays_when_nobody_hears_anything(elsewhere_ms: int | None) -> None:
    assert not any(isinstance(e, StandDown) for e in _effects(_hears_nobody(elsewhere_ms=elsewhere_ms)))


def test_it_stays_while_any_member_is_heard() -> None:
    one = _hears_nobody(elsewhere_ms=150).with_member(heard("c", ms_ago=200))
    assert isolated(record(), one, NOW, POLICY) is None


def test_alone_it_has_nobody_to_hand_over_to() -> None:
    alone = _hears_nobody(elsewhere_ms=150)
    assert alone.leading is not None
    alone = replace(alone, leading=replace(alone.leading, other_nodes=()))
    assert isolated(record(), alone, NOW, POLICY) is None


def test_before_the_first_words_are_due_it_waits() -> None:
    fresh = replace(_hears_nobody(elsewhere_ms=150), listening_since=before_ms(NOW, 1_900))
    assert isolated(record(), fresh, NOW, POLICY) is None


def test_while_a_primary_is_being_replaced_it_asks_about_a_member_that_should_be_alive() -> None:
    sealing = record(epoch=4, phase=Phase.SEALING)
    asked = [e for e in _effects(_hears_nobody(sealing)) if isinstance(e, AskObservers)]
    assert [e.member for e in asked] == ["b"]
    told = _hears_nobody(sealing, primary="b", elsewhere_ms=150)
    assert any(isinstance(effect, StandDown) for effect in _effects(told))
