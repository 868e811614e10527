"""Every step of the agents' core, performed on the model PostgreSQL, with how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agents.core import steps as st
from common.facts import PostgresState, RuleConfirmation
from common.ids import IncarnationId, parse_slot_name
from common.lsn import Lsn
from tests.simulator.model_parts import Conf
from tests.simulator.model_postgres import Postgres

if TYPE_CHECKING:
    from tests.simulator.model_agent import Agent

Act = Callable[[], object]

_TAKES_US: Mapping[type[st.Step], tuple[int, int]] = {
    st.Look: (200, 2_000),
    st.Store: (500, 3_000),
    st.WriteSettings: (1_000, 4_000),
    st.StartStandby: (80_000, 300_000),
    st.StartPrimary: (80_000, 300_000),
    st.Checkpoint: (1_000, 200_000),
    st.StopPostgres: (5_000, 120_000),
    st.EndReceivers: (500, 6_000),
    st.MeasureEnd: (1_000, 6_000),
    st.Rewind: (200_000, 1_500_000),
    st.Clone: (300_000, 2_500_000),
    st.Initdb: (300_000, 900_000),
    st.PromotePostgres: (1_000, 3_000),
}


def perform(agent: Agent, step: st.Step) -> tuple[int, Act]:
    """(microseconds until it is done, what to do then)."""
    if isinstance(step, st.Pause):
        return step.pause_ms * 1_000, lambda: None
    if isinstance(step, st.PromotePostgres):
        return _promotion(agent, step)
    low, high = _TAKES_US.get(type(step), (100, 2_000))
    return agent.world.between(low, high), lambda: _act(agent, step)


def _promotion(agent: Agent, step: st.PromotePostgres) -> tuple[int, Act]:
    """Signalled now; looked at when the longest it may take has passed."""
    pg = agent.postgres
    pg.promote(lambda: None)

    def look() -> object:
        if pg.state is not PostgresState.PRIMARY:
            raise st.StepFailed("not promoted in time")
        return st.Promoted(pg.timeline, pg.history[-1].switch_lsn)

    return agent.world.between(60_000, 70_000), look


def _act(agent: Agent, step: st.Step) -> object:  # noqa: C901 - a table, one row for each step
    pg, world = agent.postgres, agent.world
    match step:
        case st.Look():
            return _sight(agent, pg)
        case st.Store(changes):
            changed: dict[str, Any] = dict(changes)
            agent.store(replace(agent.state, **changed))
            if "seal" in changed or "promotion" in changed:
                agent.send(agent)
            return agent.state
        case st.DrawIncarnation():
            return IncarnationId(f"{world.dice.getrandbits(64):016x}")
        case st.Tell():
            agent.told = step
            agent.end_of_wal = step.end_of_wal or agent.end_of_wal
            agent.send(agent)
            return None
        case st.ConfirmRule(barrier_lsn):
            assert agent.running_for is not None
            agent.confirmation = RuleConfirmation(agent.running_for.version, barrier_lsn)
            agent.send(agent)
            return None
        case st.WriteSettings(rule, stream, closed):
            closed_now = pg.conf.closed if closed is None else closed
            if closed is True:
                agent.open = False
            conf = Conf(rule, closed=closed_now)
            if stream is not None:
                conf = Conf(
                    rule,
                    stream.upstream.member,
                    stream.application_name,
                    stream.slot,
                    stream.epoch,
                    closed_now,
                )
            pg.write_settings(conf)
            return None
        case st.EndReceivers():
            pg.end_receivers()
            return None
        case st.EndClients():
            return None
        case st.Checkpoint():
            _need(pg, PostgresState.PRIMARY)
            return None
        case st.StopPostgres(clean):
            was = pg.state
            if pg.running:
                pg.stop(clean=clean)
                if was is PostgresState.PRIMARY:
                    agent.open = False
            return st.StopOutcome(clean=clean)
        case st.StartStandby():
            _start(agent, pg, as_primary=False)
            return None
        case st.StartPrimary():
            _start(agent, pg, as_primary=True)
            return None
        case st.MeasureEnd():
            return _measure(agent, pg)
        case st.AwaitReplay(replayed_lsn):
            return pg.running and pg.end >= replayed_lsn
        case st.Reached(position):
            return pg.timeline == position.timeline and pg.end >= position.end_lsn
        case st.Initdb():
            if pg.state is not PostgresState.ABSENT:
                raise st.StepFailed("not empty")
            pg.state = PostgresState.STOPPED
            pg.system_identifier = str(world.between(10**17, 10**18))
            pg.clean = True
            pg.timeline = 1
            return pg.system_identifier
        case st.WriteMarker(state):
            pg.marker = (state.system_identifier, state.member, state.incarnation)
            return None
        case st.Rewind(upstream) | st.Clone(upstream):
            source = pg.find(upstream.member)
            if source is None or source.state is not PostgresState.PRIMARY:
                raise st.StepFailed("the source does not answer")
            pg.copy_from(source)
            return None
    return _act_on_timelines_and_rules(agent, pg, step)


def _act_on_timelines_and_rules(agent: Agent, pg: Postgres, step: st.Step) -> object:  # noqa: C901
    match step:
        case st.ListHistories(above):
            return tuple(
                st.HistoryFile(t, f[0], None if f[0] else Lsn(f[1]))
                for t, f in sorted(pg.histories.items())
                if t > above
            )
        case st.RemoveHistories(timelines):
            for t in timelines:
                pg.histories.pop(t, None)
            return None
        case st.PlantPlaceholders(_, timelines):
            for t in timelines:
                pg.histories[t] = (True, 0)
            return None
        case st.PlaceHistories(timeline, history):
            if timeline > 1:
                pg.histories.setdefault(timeline, (False, history[-1].switch_lsn))
                real = {s.timeline: s.switch_lsn for s in history}
                for t in range(timeline - 1, 1, -1):
                    pg.histories.setdefault(t, (t not in real, real.get(t, 0)))
            return None
        case st.MakeSlots(slots, epoch):
            _need(pg, PostgresState.PRIMARY)
            old = {s for s in pg.slots if (parsed := parse_slot_name(s)) is not None and parsed[2] < epoch}
            pg.slots = (pg.slots - old) | set(slots)
            return None
        case st.LocalCommit():
            _need(pg, PostgresState.PRIMARY)
            entry = pg.local_commit()
            agent.world.after(agent.world.between(100, 5_000), agent.probe_now)
            return Lsn(entry.end)
        case st.SeeRule():
            _need_running(pg)
            return pg.loaded_rule
        case st.SeeCommitWait():
            _need(pg, PostgresState.PRIMARY)
            pg.commit(0, lambda: None)
            return pg.waits
        case st.ListWalsenders():
            _need(pg, PostgresState.PRIMARY)
            return tuple(
                st.Walsender(s.pid, s.name, s.streaming, Lsn(s.flushed)) for s in pg.senders if s.alive
            )
        case st.EndWalsender(pid):
            for sender in [s for s in pg.senders if s.pid == pid]:
                pg._drop(sender)
                sender.follower._refused(sender)
            return None
        case st.InsertPosition():
            _need(pg, PostgresState.PRIMARY)
            return Lsn(pg.end)
    raise AssertionError(f"no model of {step}")


def _need(pg: Postgres, state: PostgresState) -> None:
    if pg.state is not state:
        raise st.StepFailed(f"PostgreSQL is {pg.state}, not {state}")


def _need_running(pg: Postgres) -> None:
    if not pg.running:
        raise st.StepFailed("PostgreSQL is down")


def _sight(agent: Agent, pg: Postgres) -> st.Sight:
    state = agent.state
    return st.Sight(
        postgres=pg.state,
        system_identifier=pg.system_identifier,
        marker_matches=pg.marker[1:] == (state.member, state.incarnation),
        timeline=pg.timeline,
        history=pg.history,
        flushed_lsn=Lsn(pg.flushed_end),
        replayed_lsn=Lsn(pg.flushed_end),
        clean_shutdown=pg.clean,
        was_primary=not pg.standby_signal,
        settings_rule=pg.conf.rule,
        settings_upstream=pg.conf.name,
    )


def _start(agent: Agent, pg: Postgres, *, as_primary: bool) -> None:
    if pg.state in (PostgresState.ABSENT, PostgresState.HALF):
        raise st.StepFailed("no data directory")
    if pg.running:
        return
    if not as_primary:
        trailing = pg.timeline + 1
        while pg.histories.get(trailing, (False, 0))[0]:
            trailing += 1
        if trailing not in pg.histories:
            for t in range(pg.timeline + 1, trailing):
                del pg.histories[t]
    pg.start(as_primary=as_primary)
    agent.open = False
    agent.started_at = agent.world.now
    agent.write_pending_since = None


def _measure(agent: Agent, pg: Postgres) -> st.EndOfWal:
    flushed = Lsn(pg.end) if pg.state is PostgresState.STANDBY else None
    beyond = None
    if flushed is not None and agent.world.chance(150):
        flushed, beyond = Lsn(pg.end + 40), Lsn(pg.end + 128)  # half a record was received
        agent.world.count("torn ends")
    run, flushed_once = agent.world.damaged.get(agent.name, (0, 0))
    if run == pg.run and flushed_once > pg.end and flushed is not None:
        flushed, beyond = Lsn(flushed_once), None
    return st.EndOfWal(pg.timeline, Lsn(pg.end), flushed, beyond)
