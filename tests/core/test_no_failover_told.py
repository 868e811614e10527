"""A primary that failed and that nobody may replace is in the history too: that there was no failover, and why."""

from __future__ import annotations

from msgspec.structs import replace

from common.assignment import Version
from common.facts import PostgresState
from common.ids import MemberName
from common.timebase import after_ms
from orchestrator.core.effects import Story
from orchestrator.core.engine import Engine
from orchestrator.core.events import RecordSaved
from orchestrator.core.view import MemberView
from tests.core.builders import CLUSTER, NOW, any_of, heard, record, view

LOST_MS = 60_000
CRASHED = heard("a", postgres=PostgresState.STOPPED)
RUNS = heard("a", postgres=PostgresState.PRIMARY)
B_LOST, C_LOST = heard("b", ms_ago=LOST_MS), heard("c", ms_ago=LOST_MS)


def _engine(*members: MemberView) -> Engine:
    engine = Engine(CLUSTER)
    engine.view = view(*members)
    return engine


def _told(engine: Engine, *members: MemberView, ms: int = 0) -> list[tuple[str, str]]:
    """What is told with these members as they are now, by turn after turn while the record changes in this epoch."""
    for member in members:
        engine.view = engine.view.with_member(member)
    now, found = after_ms(NOW, ms), []
    while True:
        decision = engine.turn(now)
        found += [(one.name, one.text) for one in decision.effects if isinstance(one, Story)]
        if decision.record is None or decision.record.epoch != 3:
            return found
        engine.feed(RecordSaved(now, decision.record, engine.view.revision + 1))


def test_a_crash_that_nobody_can_take_over_from_is_told_once_with_the_reason() -> None:
    engine = _engine(CRASHED, B_LOST, C_LOST)
    [(name, text)] = _told(engine)
    assert name == "no failover"
    assert text.startswith("PrimaryCrashed: a: its agent says that the postmaster is gone; ")
    assert "b: last heard" in text
    assert _told(engine, ms=10) == []


def test_it_is_told_anew_when_it_is_something_else() -> None:
    """First nobody could take over, then the one who could is not enough to prove what was acknowledged."""
    engine = _engine(CRASHED, B_LOST, C_LOST)
    _told(engine)
    silent = replace(RUNS, heard_at=C_LOST.heard_at)
    engine.view = replace(engine.view, suspicion=None)
    names = [name for name, _ in _told(engine, silent, heard("b"))]
    assert "no failover" not in names, "it is only suspected yet"


def test_a_primary_that_runs_again_in_its_epoch_goes_on_and_that_is_told() -> None:
    engine = _engine(CRASHED, B_LOST, C_LOST)
    _told(engine)
    starting = heard("a", postgres=PostgresState.STOPPED, obeyed=Version(3, 11))
    assert _told(engine, starting) == []
    stories = _told(engine, RUNS, heard("b"), heard("c"))
    assert stories[-1] == ("goes on", "a is the primary as before, in epoch 3")
    assert "goes on" not in [name for name, _ in _told(engine)]


def test_the_same_trouble_later_on_is_told_again() -> None:
    engine = _engine(CRASHED, B_LOST, C_LOST)
    _told(engine)
    _told(engine, RUNS)
    assert [name for name, _ in _told(engine, CRASHED)] == ["no failover"]


def test_where_the_failover_comes_after_all_it_speaks_for_itself() -> None:
    engine = _engine(CRASHED, B_LOST, C_LOST)
    _told(engine)
    assert [name for name, _ in _told(engine, heard("b"), heard("c"))] == ["sealing"]


def test_a_primary_that_is_healthy_all_the_time_has_nothing_to_tell() -> None:
    engine = Engine(CLUSTER)
    engine.view = view(RUNS, heard("b"), heard("c"), of=record(rules=(any_of(1, "b", "c"),)))
    assert [name for name, _ in _told(engine) if name in ("no failover", "goes on")] == []
    assert engine.view.member(MemberName("a")).facts is not None
