"""Typed wrappers of the steps, so that a recipe reads as a straight procedure.

Pure. `sight = yield from look()` instead of an untyped `yield`; one wrapper for each step that answers.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from agents.core import steps
from agents.core.state import AgentState
from agents.core.steps import Outcome, Step
from common.assignment import Position
from common.ids import IncarnationId
from common.lsn import Lsn

T = TypeVar("T")
Recipe = Generator[Step, Outcome, T]


def _ask(step: Step, kind: type[T]) -> Recipe[T]:
    outcome = yield step
    assert isinstance(outcome, kind), f"{step} answered {outcome!r}"
    return outcome


def look() -> Recipe[steps.Sight]:
    return (yield from _ask(steps.Look(), steps.Sight))


def see_crash() -> Recipe[bool]:
    return (yield from _ask(steps.SeeCrash(), bool))


def store(**changes: object) -> Recipe[AgentState]:
    return (yield from _ask(steps.Store(changes), AgentState))


def draw_incarnation() -> Recipe[IncarnationId]:
    return IncarnationId((yield from _ask(steps.DrawIncarnation(), str)))


def stop(*, clean: bool = False, clean_within_ms: int = 0) -> Recipe[steps.StopOutcome]:
    return (yield from _ask(steps.StopPostgres(clean, clean_within_ms), steps.StopOutcome))


def measure_end() -> Recipe[steps.EndOfWal]:
    return (yield from _ask(steps.MeasureEnd(), steps.EndOfWal))


def list_histories(above: int) -> Recipe[tuple[steps.HistoryFile, ...]]:
    return (yield from _ask(steps.ListHistories(above), tuple))


def promote(within_ms: int) -> Recipe[steps.Promoted]:
    return (yield from _ask(steps.PromotePostgres(within_ms), steps.Promoted))


def local_commit() -> Recipe[Lsn]:
    return (yield from _ask(steps.LocalCommit(), Lsn))


def see_rule(*, new_session: bool = True) -> Recipe[str]:
    return (yield from _ask(steps.SeeRule(new_session), str))


def see_commit_wait(within_ms: int) -> Recipe[bool]:
    return (yield from _ask(steps.SeeCommitWait(within_ms), bool))


def list_walsenders() -> Recipe[tuple[steps.Walsender, ...]]:
    return (yield from _ask(steps.ListWalsenders(), tuple))


def insert_position() -> Recipe[Lsn]:
    return (yield from _ask(steps.InsertPosition(), Lsn))


def initdb() -> Recipe[str]:
    return (yield from _ask(steps.Initdb(), str))


def reached(position: Position) -> Recipe[bool]:
    return (yield from _ask(steps.Reached(position), bool))


def await_replay(replayed_lsn: Lsn, within_ms: int) -> Recipe[bool]:
    return (yield from _ask(steps.AwaitReplay(replayed_lsn, within_ms), bool))
