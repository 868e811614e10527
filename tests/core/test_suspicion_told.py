"""The history of a failover that began with silence says since when, whatever the suspicion was called meanwhile."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from common.facts import PostgresState
from common.ids import MemberName
from common.timebase import Instant, after_ms, before_ms
from orchestrator.core.decision import Decision
from orchestrator.core.effects import AskObservers, Story
from orchestrator.core.engine import Engine
from orchestrator.core.events import ProbeAnswer
from orchestrator.core.view import Suspicion
from tests.core.builders import CLUSTER, NOW, heard, view

SILENT_MS = 700
SINCE = before_ms(NOW, 300)


def _decided(suspicion: Suspicion | None, *, told: frozenset[str] = frozenset()) -> Decision:
    engine = Engine(CLUSTER)
    primary = heard("a", ms_ago=SILENT_MS + 300, postgres=PostgresState.PRIMARY)
    engine.view = view(primary, heard("b"), heard("c"), suspicion=suspicion, told=told)
    return engine.turn(NOW)


def _stories(decision: Decision) -> list[Story]:
    return [effect for effect in decision.effects if isinstance(effect, Story)]


CONFIRMED = Suspicion(MemberName("a"), SINCE, SINCE, frozenset(), None, ProbeAnswer.SILENT)


def test_a_failover_by_silence_tells_first_when_the_primary_was_suspected() -> None:
    suspected, sealing = _stories(_decided(CONFIRMED))
    assert (suspected.name, suspected.happened_at, suspected.epoch) == ("suspected", SINCE, 4)
    assert suspected.text.startswith(f"silent for {SILENT_MS} ms, the threshold is ")
    assert (sealing.name, sealing.happened_at) == ("sealing", None)


def test_an_earlier_suspicion_in_the_same_epoch_takes_nothing_away() -> None:
    """A link that flapped an hour ago was suspected too, and that one led to nothing."""
    names = [story.name for story in _stories(_decided(CONFIRMED, told=frozenset({"suspected 3"})))]
    assert names == ["suspected", "sealing"]


def test_a_suspicion_that_leads_to_nothing_is_not_told() -> None:
    decision = _decided(None)
    assert any(isinstance(effect, AskObservers) for effect in decision.effects)
    assert _stories(decision) == []


@pytest.mark.parametrize("began_at", [before_ms(NOW, 1), before_ms(NOW, 3_600_000)])
def test_however_long_the_suspicion_lasted_it_is_told(began_at: Instant) -> None:
    """A primary that only a standby could hear for an hour, and then was lost."""
    suspected = _stories(_decided(replace(CONFIRMED, since=began_at)))[0]
    assert (suspected.name, suspected.happened_at) == ("suspected", began_at)


def test_one_that_was_never_heard_is_told_with_how_long_was_listened() -> None:
    engine = Engine(CLUSTER)
    engine.view = view(heard("b"), heard("c"), suspicion=CONFIRMED, listening_since=before_ms(SINCE, 9_000))
    suspected, sealing = _stories(engine.turn(after_ms(NOW, 0)))
    assert (suspected.name, suspected.text) == ("suspected", "never heard in 9000 ms of listening")
    assert sealing.name == "sealing"
