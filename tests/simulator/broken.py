"""Small worlds for the tests of the checkers: whole, and then bent by hand until a rule is broken."""

from __future__ import annotations

from collections.abc import Callable

from common.ids import MemberName
from orchestrator.core.record import Record
from tests.simulator.fleet import Fleet
from tests.simulator.model_parts import Entry
from tests.simulator.model_postgres import Postgres
from tests.simulator.plan import Plan
from tests.simulator.swarm import fleet_of

A, B, C = MemberName("a"), MemberName("b"), MemberName("c")
SECOND_US = 1_000_000


def whole_fleet(seed: int = 5, *, members: int = 3, controls: int = 1, k: int = 1) -> Fleet:
    """`a` is its primary, in epoch 1."""
    fleet = fleet_of(Plan(seed, members=members, controls=controls, k=k))
    assert fleet.world.run_until(fleet.world.now_us + 40 * SECOND_US, fleet.whole)
    return fleet


def run(fleet: Fleet, duration_us: int) -> None:
    fleet.world.run_until(fleet.world.now_us + duration_us)


def until(fleet: Fleet, happens: Callable[[], bool], within_us: int = 30 * SECOND_US) -> None:
    assert fleet.world.run_until(fleet.world.now_us + within_us, happens), "the world was not bent"


def record_of(fleet: Fleet) -> Record:
    record = fleet.record()
    assert record is not None
    return record


def isolate(fleet: Fleet, name: str) -> None:
    fleet.cut |= {frozenset((name, other)) for other in (*fleet.agents, "control") if other != name}


def fail_over(fleet: Fleet, name: str = "a") -> str:
    """`name` is cut off, and lives; answers who took its place, settled."""
    isolate(fleet, name)
    epoch = record_of(fleet).epoch

    def settled() -> bool:
        record = record_of(fleet)
        return record.epoch > epoch and record.phase == "STABLE" and not record.prior

    until(fleet, settled)
    return str(record_of(fleet).primary)


def rows(fleet: Fleet, count: int = 3) -> None:
    """So many are acknowledged, one after the other."""
    for _ in range(count):
        before = fleet.checkers.client_rows
        fleet.write()
        until(fleet, lambda: fleet.checkers.client_rows > before)  # noqa: B023


def exchange(server: Postgres, index: int) -> None:
    """Another record of the same length stands there; PostgreSQL sees no difference."""
    entry = server.log[index]
    server.log[index] = Entry(entry.timeline, entry.start, server.world.unique(), entry.end)


def bend_saves(fleet: Fleet, bend: Callable[[Record, Record], Record]) -> None:
    """RecordTruth is shown other records than those which are saved; (old, new) → another new."""
    honest = fleet.truth.saved

    def shown(old: Record | None, new: Record) -> None:
        honest(old, new if old is None else bend(old, new))

    fleet.truth.saved = shown  # type: ignore[method-assign]
