"""More of what a story can show: what people see, and what a client sees. Never times or positions.

show record | diagnosis | timeline | writes | names | lease | slots [a] | upstream c | error c | lost a
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from common.ids import ClusterName
from orchestrator.core.engine import Engine
from orchestrator.core.record import Record
from orchestrator.core.status import ClusterStatus
from tests.simulator.fleet import Fleet

_A_CLIENT_WAITS_US = 1_000_000


def record(fleet: Fleet) -> Iterator[str]:
    now = _record(fleet)
    yield f"record epoch {now.epoch} {now.phase} of {now.primary}, {'settled' if not now.prior else 'not settled'}"


def diagnosis(fleet: Fleet) -> Iterator[str]:
    yield f"diagnosis {_status(fleet).diagnosis}"


def timeline(fleet: Fleet) -> Iterator[str]:
    now = _record(fleet)
    yield f"timeline {now.timeline}, the highest ever allocated is {now.timeline_max}"


def writes(fleet: Fleet) -> Iterator[str]:
    """Whether a client's insert is acknowledged within a second."""
    before = fleet.checkers.client_rows
    until_us = fleet.world.now_us + _A_CLIENT_WAITS_US
    if fleet.world.run_until(until_us, lambda: fleet.checkers.client_rows > before):
        yield "writes are acknowledged"
    elif fleet.serving():
        yield "writes wait"
    else:
        yield "writes are not taken: nobody serves"


def names(fleet: Fleet) -> Iterator[str]:
    shown = _status(fleet).names
    assert shown is not None
    how = "read back" if shown.confirmed else "not confirmed"
    yield f"names {shown.primary} {', '.join(shown.addresses) or 'as they were'} ({how})"


def lease(fleet: Fleet) -> Iterator[str]:
    """To whom the leader's next acknowledgement would grant one; asked of a copy, which forgets it."""
    engine = Engine(ClusterName(fleet.spec.name))
    engine.view = fleet.control.engine.view
    grant = engine.turn(fleet.world.now).grant
    yield "lease to nobody" if grant is None else f"lease to {grant.member} for epoch {grant.epoch}"


def slots(fleet: Fleet, name: str = "") -> Iterator[str]:
    """The primary's, or those of a member."""
    of = name or str(_record(fleet).primary)
    yield f"slots of {of}: {', '.join(sorted(fleet.postgres[of].slots)) or 'none'}"


def upstream(fleet: Fleet, name: str) -> Iterator[str]:
    conf = fleet.postgres[name].conf
    yield f"upstream of {name}: {f'{conf.upstream} at {conf.address}' if conf.upstream else 'nobody'}"


def error(fleet: Fleet, name: str) -> Iterator[str]:
    line = next(m for m in _status(fleet).members if m.name == name)
    yield f"error of {name}: {line.error or 'none'}"


def lost(fleet: Fleet, name: str) -> Iterator[str]:
    """What its last rebuild threw away, by its agent's own account."""
    destroyed = fleet.agents[name].state.destroyed
    yield f"lost at {name}: {'nothing' if destroyed is None else f'what lay up to {destroyed}'}"


def _record(fleet: Fleet) -> Record:
    now = fleet.record()
    assert now is not None
    return now


def _status(fleet: Fleet) -> ClusterStatus:
    return fleet.control.engine.status(fleet.world.now)


SHOWN: Mapping[str, Callable[..., Iterator[str]]] = MappingProxyType(
    {
        "record": record,
        "diagnosis": diagnosis,
        "timeline": timeline,
        "writes": writes,
        "names": names,
        "lease": lease,
        "slots": slots,
        "upstream": upstream,
        "error": error,
        "lost": lost,
    }
)
