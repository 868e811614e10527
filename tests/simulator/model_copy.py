"""pg_rewind and pg_basebackup on the model, with their lies, and cut short anywhere (R9, R13, E10, E10b).

As in agents/postgres/making.py: what can't be reached is noticed before anything is thrown away, a rewind that
found nothing to do is taken for a failure, and a directory under copy is marked as unusable until it is whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agents.core import steps as st
from common.facts import PostgresState
from tests.simulator.model_postgres import Postgres

if TYPE_CHECKING:
    from tests.simulator.model_agent import Agent

_REWIND_US = (200_000, 1_500_000)
_CLONE_US = (300_000, 2_500_000)
_NO_CHECKPOINT_PERMILLE = 30


def begin_copy(agent: Agent, step: st.Rewind | st.Clone) -> tuple[int, Callable[[], object]]:
    """(microseconds until it is done, what to do then). Nothing but HALF is left of one whose agent died."""
    pg, world = agent.postgres, agent.world
    rewind = isinstance(step, st.Rewind)
    source = _source(pg, step.upstream.member)
    why = ""
    if source is None:
        why = "the source does not answer"
    elif pg.anything_left:
        why = "PostgreSQL runs: its directory can't be replaced"
    elif rewind and pg.state is not PostgresState.STOPPED:
        why = f"the data directory is {pg.state}: a rewind needs a whole one"
    elif rewind and agent.rewind_fails:
        why = "pg_rewind found no common ground"
    elif rewind and world.chance(_NO_CHECKPOINT_PERMILLE):
        why = "the source did not end its checkpoint in time"
    if why or source is None:
        return world.between(1_000, 40_000), lambda: _fail(why)
    if rewind:
        source.checkpoint()
    nothing_to_do = rewind and finds_nothing_to_do(pg, source)
    if pg.on_rebuilt is not None:
        pg.on_rebuilt(pg)
    pg.begin_copy(rewind=rewind)
    run, began_at = pg.run, source.end

    def done() -> object:
        again = _source(pg, step.upstream.member)
        if again is not source or pg.run != run:
            raise st.StepFailed("the source went away")
        if nothing_to_do:
            raise st.StepFailed("pg_rewind found nothing to do, but the member has diverged")
        pg.copy_from(source, keep_files=rewind, since=began_at)
        return None

    return world.between(*(_REWIND_US if rewind else _CLONE_US)), done


def finds_nothing_to_do(pg: Postgres, source: Postgres) -> bool:
    """pg_rewind compares timeline ids, and takes the source's from its control file (E10, E10b)."""
    return pg.timeline in (source.timeline, source.checkpoint_timeline)


def _source(pg: Postgres, member: str) -> Postgres | None:
    source = pg.find(member)
    answers = (
        source is not None
        and source.state is PostgresState.PRIMARY
        and not source.host.postgres_process.frozen
        and pg.world.now_us >= source.stalled_until
    )
    return source if answers else None


def _fail(why: str) -> object:
    raise st.StepFailed(why)
