"""Every step of the agents' core, performed on the model PostgreSQL, with how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from agents.core import steps as st
from common.facts import PostgresState, RuleConfirmation
from common.ids import IncarnationId, parse_slot_name
from common.lsn import Lsn
from tests.simulator.model_copy import begin_copy
from tests.simulator.model_parts import PLACEHOLDER, RECORD, Conf, HistoryFile
from tests.simulator.model_postgres import Postgres

if TYPE_CHECKING:
    from tests.simulator.model_agent import Agent

Act = Callable[[], object]

_TAKES_US: Mapping[type[st.Step], tuple[int, int]] = {
    st.Look: (200, 2_000),
    st.Store: (500, 3_000),
    st.WriteSettings: (1_000, 4_000),
    st.Checkpoint: (1_000, 200_000),
    st.StopPostgres: (5_000, 120_000),
    st.EndReceivers: (500, 6_000),
    st.MeasureEnd: (1_000, 6_000),
    st.Initdb: (300_000, 900_000),
}
MAY_BE_CUT_OFF = (
    st.AwaitReplay,
    st.Checkpoint,
    st.Clone,
    st.Rewind,
    st.StartStandby,
    st.StartPrimary,
    st.Pause,
    st.SeeCommitWait,
    st.PromotePostgres,
    st.Initdb,
)
"""agents/driver.py: what a seal or a promotion does not wait for."""
_WRITES = (
    st.Store,
    st.WriteSettings,
    st.WriteMarker,
    st.PlaceHistories,
    st.PlantPlaceholders,
    st.RemoveHistories,
)
_POLL_US = 1_000


def perform(agent: Agent, step: st.Step) -> tuple[int, Act]:
    """(microseconds until it is done, what to do then)."""
    own_us = agent.host.clock.world_us
    match step:
        case st.Pause(pause_ms):
            return own_us(pause_ms * 1_000), lambda: None
        case st.PromotePostgres(within_ms):
            return _promotion(agent, own_us(within_ms * 1_000))
        case st.StartStandby():
            return _start(agent, as_primary=False)
        case st.StartPrimary():
            return _start(agent, as_primary=True)
        case st.Rewind() | st.Clone():
            return begin_copy(agent, step)
        case st.AwaitReplay(replayed_lsn, within_ms):
            return _replay(agent, replayed_lsn, own_us(within_ms * 1_000))
    low, high = _TAKES_US.get(type(step), (100, 2_000))
    takes_us = agent.world.between(low, high)
    if isinstance(step, _WRITES):
        takes_us += agent.disk_hangs_us
    return takes_us, lambda: _act(agent, step)


def _refuse_to_start(agent: Agent) -> object:
    raise st.StepFailed(f"PostgreSQL does not start: {agent.unstartable}")


def _promotion(agent: Agent, within_us: int) -> tuple[int, Act]:
    """Signalled now, and looked at again and again; goes on by itself if nobody looks any more."""
    pg, run = agent.postgres, agent.postgres.run
    took_us = pg.promote()

    def look() -> object:
        if pg.run != run or pg.state is not PostgresState.PRIMARY:
            raise st.StepFailed("not promoted in time")
        if pg.histories[pg.timeline].placeholder:
            raise st.StepFailed(f"timeline {pg.timeline} has no history file: this was no promotion")
        return st.Promoted(pg.timeline, pg.history[-1].switch_lsn)

    return min(took_us + _POLL_US, within_us), look


def _replay(agent: Agent, replayed_lsn: int, within_us: int) -> tuple[int, Act]:
    """The startup process is woken; what holds it for longer is waited for, within the time."""
    pg = agent.postgres
    takes_us = agent.world.between(100, 2_000)
    if within_us:
        pg.resume_replay("unread")
    if pg.held_by in ("slow", "conflict", "paused"):
        takes_us = max(takes_us, min(pg.held_until - agent.world.now_us + _POLL_US, within_us))
    return takes_us, lambda: pg.running and pg.replayed_end >= replayed_lsn


def _start(agent: Agent, *, as_primary: bool) -> tuple[int, Act]:
    """What must be durable before is done now; the start itself goes on also without this agent."""
    pg = agent.postgres
    takes_us = agent.world.between(80_000, 300_000)
    if agent.unstartable and not pg.running:
        return takes_us, lambda: _refuse_to_start(agent)
    if pg.state in (PostgresState.STOPPED, PostgresState.DYING):
        agent.generation += 1
        agent.prober.shut()
        if pg.state is PostgresState.STOPPED:
            if as_primary:
                pg.conf.closed = True
                pg.standby_signal = False
            else:
                pg.standby_signal = True  # before every start that is not as primary (R8)
                _remove_trailing_placeholders(pg)
            pg.begin_start(takes_us - 1_000)

    def started() -> object:
        wanted = PostgresState.PRIMARY if as_primary else PostgresState.STANDBY
        if pg.state is not wanted:
            raise st.StepFailed(f"PostgreSQL did not come up as {wanted}: it is {pg.state}")
        agent.prober.wake()
        return None

    return takes_us, started


def _remove_trailing_placeholders(pg: Postgres) -> None:
    """Those above the own timeline with nothing real above them (V2)."""
    newest = pg.newest_timeline()
    while newest > pg.timeline and pg.histories[newest].placeholder:
        del pg.histories[newest]
        newest -= 1


def _act(agent: Agent, step: st.Step) -> object:  # noqa: C901 - a table, one row for each step
    pg, world = agent.postgres, agent.world
    match step:
        case st.Look():
            return sight_of(agent)
        case st.SeeCrash():
            return agent.saw_crash and not pg.running
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
                agent.generation += 1
            conf = Conf(rule, closed=closed_now)
            if stream is not None:
                upstream = stream.upstream
                conf = Conf(
                    rule,
                    upstream.member,
                    f"{upstream.host}:{upstream.port}",
                    stream.application_name,
                    stream.slot,
                    stream.epoch,
                    closed_now,
                )
            pg.write_settings(conf)
            return None
        case st.EndReceivers():
            pg.end_receiver_by_signal()
            return None
        case st.EndClients():
            pg.resume_replay("paused", "conflict")
            return None
        case st.Checkpoint():
            _need(pg, PostgresState.PRIMARY)
            pg.checkpoint()
            return None
        case st.StopPostgres(clean):
            agent.generation += 1
            if pg.anything_left:
                agent.host.on_stopped(agent)
                pg.stop(clean=clean)
            agent.prober.shut()
            return st.StopOutcome(clean=pg.clean)
        case st.MeasureEnd():
            return _measure(pg)
        case st.Reached(position):
            return pg.timeline == position.timeline and pg.readable_end >= position.end_lsn
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
    return _act_on_timelines_and_rules(agent, pg, step)


def _act_on_timelines_and_rules(agent: Agent, pg: Postgres, step: st.Step) -> object:  # noqa: C901
    match step:
        case st.ListHistories(above):
            return tuple(
                st.HistoryFile(t, f.placeholder, None if f.placeholder else Lsn(f.fork))
                for t, f in sorted(pg.histories.items())
                if t > above
            )
        case st.RemoveHistories(timelines):
            if pg.anything_left:
                raise st.StepFailed("history files are removed only while PostgreSQL stands still")
            for t in timelines:
                pg.histories.pop(t, None)
            return None
        case st.PlantPlaceholders(_, timelines):
            for t in timelines:
                pg.histories[t] = PLACEHOLDER
            return None
        case st.PlaceHistories(timeline, history):
            for t in range(timeline, 1, -1):
                below = tuple(step for step in history if step.timeline < t)
                real = t == timeline or any(step.timeline == t for step in history)
                there = pg.histories.get(t)
                if there is None or (real and there.placeholder):
                    pg.histories[t] = HistoryFile(False, below) if real else PLACEHOLDER
            return None
        case st.MakeSlots(slots, epoch):
            if slots:
                _need(pg, PostgresState.PRIMARY)
            _need_running(pg)
            used = {s.follower.conf.slot for s in pg.senders if s.alive}
            ours = {s for s in pg.slots if (parsed := parse_slot_name(s)) is not None and parsed[2] <= epoch}
            pg.slots = (pg.slots - (ours - used)) | set(slots)
            return None
        case st.LocalCommit():
            _need(pg, PostgresState.PRIMARY)
            _need_disk(pg)
            entry = pg.local_commit()
            agent.prober.wake()
            return Lsn(entry.end)
        case st.SeeRule():
            _need_running(pg)
            return pg.loaded_rule
        case st.SeeCommitWait():
            _need(pg, PostgresState.PRIMARY)
            _need_disk(pg)
            pg.commit(0, lambda: None)
            return pg.waits
        case st.ListWalsenders():
            _need(pg, PostgresState.PRIMARY)
            return tuple(
                st.Walsender(s.pid, s.name, s.streaming, Lsn(s.flushed)) for s in pg.senders if s.alive
            )
        case st.EndWalsender(pid):
            for sender in [s for s in pg.senders if s.pid == pid]:
                pg.end_walsender(sender)
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


def sight_of(agent: Agent) -> st.Sight:
    pg, state = agent.postgres, agent.state
    return st.Sight(
        postgres=pg.state,
        system_identifier=pg.system_identifier,
        marker_matches=pg.marker[1:] == (state.member, state.incarnation),
        timeline=pg.timeline,
        history=pg.history,
        flushed_lsn=Lsn(pg.flushed_end),
        replayed_lsn=Lsn(pg.replayed_end),
        clean_shutdown=pg.clean,
        was_primary=not pg.standby_signal,
        settings_rule=pg.conf.rule,
        settings_upstream=pg.conf.name,
        settings_address=pg.conf.address,
    )


def _need_disk(pg: Postgres) -> None:
    if pg.world.now_us < pg.stalled_until:
        raise st.StepFailed("PostgreSQL did not answer in time")
    if pg.full:
        pg.panic()
        raise st.StepFailed("PostgreSQL went down")


def _measure(pg: Postgres) -> st.EndOfWal:
    """The scan, from what was replayed; with how far it was flushed, if the server was not restarted since."""
    if pg.state is PostgresState.HALF and pg.half_rewound:
        return st.EndOfWal(pg.timeline, Lsn(pg.half_made_end()), None, None)
    if pg.state in (PostgresState.ABSENT, PostgresState.HALF):
        raise st.StepFailed("the control file can't be read")
    end = pg.scanned_end = pg.readable_end
    if pg.state is not PostgresState.STANDBY:
        pg.flushed_upto = pg.end  # made durable first (agents/postgres/wal_sync.py)
        return st.EndOfWal(pg.timeline, Lsn(end), None, Lsn(end + RECORD) if end < pg.end else None)
    beyond = Lsn(end + RECORD) if pg.half_record or end < pg.end else None
    flushed = Lsn(pg.reported_flush) if pg.flush_known else None
    return st.EndOfWal(pg.timeline, Lsn(end), flushed, beyond)
