"""Faults on one database host: its processes, its clock, its disk, its replay.

Rule of admission: what happens on one machine, and not between two. faults.py takes `PLAIN` and `AIMED`
into its own lists.
"""

from __future__ import annotations

from common.facts import PostgresState
from orchestrator.core.record import Phase
from tests.simulator.model_agent import Agent
from tests.simulator.model_host import Host
from tests.simulator.model_network import CONTROL, ETCD
from tests.simulator.model_postgres import Postgres
from tests.simulator.model_process import Process
from tests.simulator.scene import Fault, Scene


def _anybody(s: Scene) -> Agent:
    """The primary half of the time."""
    name = s.current_primary() if s.dice.chance(500) else s.dice.pick(s.members)
    return s.fleet.agents[name]


def _server(s: Scene) -> Postgres:
    return _anybody(s).postgres


# Agent and guard


def agent_is_killed(s: Scene) -> None:
    _anybody(s).host.kill_agent()


def agent_keeps_dying(s: Scene) -> None:
    """A bad release: the guard starts it again, ever later, and commits in its place."""
    host = _anybody(s).host
    for _ in range(s.dice.between(3, 12)):
        s.later(0, 6_000, host.kill_agent)


def agent_is_frozen(s: Scene) -> None:
    host = _anybody(s).host
    _freeze(s, host, host.agent_process)


def guard_is_killed(s: Scene) -> None:
    _anybody(s).host.kill_guard()


def guard_is_frozen(s: Scene) -> None:
    host = _anybody(s).host
    _freeze(s, host, host.guard_process)


def both_are_killed(s: Scene) -> None:
    _anybody(s).host.kill_both()


# covers: S34 T37
def both_are_frozen(s: Scene) -> None:
    """Thawed, they find a deadline that passed: only the bound on stale reads is lost."""
    host = _anybody(s).host
    _freeze(s, host, host.agent_process, host.guard_process)


def control_is_cut_off_and_agents_die(s: Scene) -> None:
    """Nobody grants anything, and the agents die as well: what goes on is the guards' own commits."""
    s.lasts(s.fleet.profile.lease_ms + 1_000)
    names = s.members
    for name in names:
        s.cut(name, CONTROL, 3_000, 9_000)
    host = s.fleet.agents[s.current_primary()].host
    if s.dice.chance(500):
        for at_ms in range(0, 6_000, 200):  # a release that dies at every start
            s.later(at_ms, at_ms + 200, host.kill_agent)
        return
    for _ in range(s.dice.between(1, 4)):
        s.later(0, 4_000, host.kill_agent if s.dice.chance(700) else host.kill_guard)


# The whole host, and its clock


def _freeze(s: Scene, host: Host, *processes: Process, clock_stands: bool = False) -> None:
    s.fleet.world.count("freezes")
    host.freeze(*processes, clock_stands=clock_stands)
    s.later(50, 9_000 if s.dice.chance(300) else 2_000, host.thaw)


def host_is_frozen(s: Scene) -> None:
    _freeze(s, _anybody(s).host)


# covers: T37 T38
def machine_is_paused(s: Scene) -> None:
    """With its clocks, which know nothing of it."""
    _freeze(s, _anybody(s).host, clock_stands=True)


def postgres_is_frozen(s: Scene) -> None:
    host = _anybody(s).host
    _freeze(s, host, host.postgres_process)


# covers: T38
def clocks_drift(s: Scene) -> None:
    """Any clock against any other, by ρ at the most."""
    for name in s.members:
        limit = s.fleet.profile.drift_permille
        s.fleet.agents[name].host.clock.drift(s.dice.between(-limit, limit))


def frozen_primary_is_replaced(s: Scene) -> None:
    """It goes on where it stood, after another took over: late replies, late commits, open doors."""
    host = s.fleet.agents[s.primary].host
    clock_stands = s.dice.chance(300)
    if s.dice.chance(500):
        host.freeze(clock_stands=clock_stands)
    else:
        host.freeze(host.postgres_process)

    def promoted() -> None:
        s.later(0, 1_500, host.thaw)

    s.fleet.once(lambda record: record.phase is Phase.PROMOTING, promoted)
    s.later(5_000, 9_000, host.thaw)


def reply_is_read_after_the_replacement(s: Scene) -> None:
    """The primary's server is frozen while its voter's word for a probe is under way, and cut off; thawed after
    another took over, it reads that word: true of a moment long ago (E28, F7)."""
    world, name = s.fleet.world, s.current_primary()
    agent = s.fleet.agents[name]
    server, host = agent.postgres, agent.host

    def watch(left: int) -> None:
        entry = agent.prober.pending_entry
        voters = [sender.follower for sender in server.senders if sender.streaming]
        if entry is not None and any(follower.end >= entry.end for follower in voters):
            world.count("replies read after the replacement")
            s.lasts(2 * s.fleet.profile.lease_ms)
            host.freeze(host.postgres_process)
            for other in (*s.members, CONTROL):
                if other != name:
                    s.cut(name, other, 8_000, 9_000)
            s.later(1_000, s.fleet.profile.lease_ms * 7 // 10, host.thaw)
        elif left:
            s.after(300, lambda: watch(left - 1))

    watch(4_000)


def stale_leader_goes_on_granting(s: Scene) -> None:
    """It lost its election and does not know; the primary hears it, and nobody else."""
    name, stale = s.current_primary(), s.leader
    s.cut(stale.place, ETCD, 3_000, 9_000)
    s.fleet.replace_leader(kill=False)
    s.lasts(s.fleet.profile.lease_ms + 2_000)
    for other in (*s.members, *s.fleet.network.controls):
        if other not in (name, stale.place):
            s.cut(name, other, 8_000, 9_000)


# PostgreSQL's processes


def backend_is_killed(s: Scene) -> None:
    """SIGKILL to one: the postmaster ends all, and is not to start again by itself."""
    s.fleet.kill_postmaster(_anybody(s).name)


def walsender_is_ended(s: Scene) -> None:
    server = s.fleet.postgres[s.current_primary()]
    if server.senders:
        server.end_walsender(s.dice.pick(server.senders))


def walreceiver_is_ended(s: Scene) -> None:
    server = s.fleet.postgres[s.one]
    if server.receiver is not None:
        server._refused(server.receiver.sender)


def checkpointer_stalls(s: Scene) -> None:
    """It takes a rule up when its fsyncs are done: seconds later (E7)."""
    for name in s.members:
        s.fleet.postgres[name].checkpointer_stalls_until = s.fleet.world.now_us + s.dice.between(
            500_000, 6_000_000
        )


def replay_is_held(s: Scene) -> None:
    """Slow, paused by a person, or in conflict with a query; on some of them a failover comes meanwhile."""
    for name in (s.one, *s.others):
        if s.dice.chance(600):
            why = s.dice.pick(("slow", "paused", "conflict"))
            s.fleet.postgres[name].hold_replay(why, s.dice.between(200_000, 6_000_000))
    if s.dice.chance(600):
        s.later(50, 1_000, s.lose_primary)


def promotion_fails(s: Scene) -> None:
    """The first candidate's startup process dies over it; it has no standby.signal left, or it has."""
    for name in (s.one, *s.others):
        if s.dice.chance(500):
            s.fleet.postgres[name].promotion_fails = True
    s.lose_primary()


def promotion_is_slow(s: Scene) -> None:
    """Signalled, and given up before it happens: it is sealed meanwhile, or its agent is away (E18)."""
    for name in (s.one, *s.others):
        server = s.fleet.postgres[name]
        server.promotion_takes_us = s.dice.between(500_000, 6_000_000)
        s.later(4_000, 8_000, lambda x=server: setattr(x, "promotion_takes_us", 0))  # type: ignore[misc]

    def disturb() -> None:
        record = s.fleet.record()
        if record is None or record.candidate is None:
            return
        name = str(record.candidate)
        if s.dice.chance(500):
            s.later(20, 400, s.fleet.agents[name].host.kill_agent)
        else:
            s.later(20, 400, lambda: s.cut(name, CONTROL, 700, 2_500))

    s.fleet.once(lambda record: record.phase is Phase.PROMOTING, disturb)
    s.lose_primary()


def candidate_dies_inside_its_promotion(s: Scene) -> None:
    """To the millisecond: between its history file, the end of recovery, and the first write (F9, F10)."""

    def aim() -> None:
        record = s.fleet.record()
        if record is None or record.candidate is None:
            return
        server = s.fleet.postgres[str(record.candidate)]
        host = s.fleet.agents[str(record.candidate)].host
        power, waits_us = s.dice.chance(400), s.dice.between(0, 12_000)

        def strike() -> None:
            if power:
                s.lose(str(record.candidate), 200, 3_000)
            else:
                s.fleet.kill_postmaster(str(record.candidate))
                if s.dice.chance(500):
                    host.kill_agent()

        def watch(left: int) -> None:
            if server.state is PostgresState.STANDBY and not server.standby_signal:
                s.fleet.world.count("candidates killed inside their promotion")
                s.after(waits_us, strike)
            elif left:
                s.after(1_000, lambda: watch(left - 1))

        watch(300)

    s.fleet.once(lambda record: record.phase is Phase.PROMOTING, aim)
    s.lose_primary()


# Disks


def disk_stalls(s: Scene) -> None:
    """PostgreSQL's, and half of the time its agent stores on the same one."""
    agent = _anybody(s)
    until_us = s.fleet.world.now_us + s.dice.between(100_000, 5_000_000)
    agent.postgres.stalled_until = until_us
    if s.dice.chance(500):
        agent.stalled_until = until_us


def disk_fills(s: Scene) -> None:
    server = _server(s)
    server.full = True
    s.later(300, 6_000, lambda: _free(server))


def _free(server: Postgres) -> None:
    server.full = False


def disk_is_damaged(s: Scene) -> None:
    """WAL that was flushed, and not replayed yet, can't be read any more; then the primary is lost (V7)."""
    server = s.fleet.postgres[s.one]
    if server.state is not PostgresState.STANDBY or server.damaged_from is not None:
        return
    server.hold_replay("slow", s.dice.between(1_000_000, 3_000_000))
    held_at, run = server.replayed_end, server.run

    def damage() -> None:
        records = (server.end - held_at) // 128
        if server.run == run and server.state is PostgresState.STANDBY and records > 0:
            s.fleet.world.count("damaged disks")
            s.lost.append(s.one)  # a solo rule of its own is resolved by nobody else (I5)
            server.damaged_from = held_at + s.dice.between(0, records - 1) * 128
            s.later(0, 60, s.lose_primary)

    s.later(50, 900, damage)


def primary_s_disk_is_damaged(s: Scene) -> None:
    """Below what its agent has stored as flushed; then its postmaster dies, and it seals."""
    damage_the_primary(s)


def damage_the_primary(s: Scene) -> bool:
    """Answers whether there was anything to damage. Its postmaster dies of it."""
    name = s.current_primary()
    agent = s.fleet.agents[name]
    server, mark = agent.postgres, agent.state.flushed_mark
    record = s.fleet.record()
    if record is None or not record.rule.waits or server.state is not PostgresState.PRIMARY or mark is None:
        return False
    if mark.epoch != agent.state.serving_epoch or mark.flushed_lsn > server.flushed_end:
        return False
    lowest = max(server.end_of_recovery, mark.flushed_lsn - 40 * 128)
    if lowest >= mark.flushed_lsn:
        return False
    s.fleet.world.count("damaged disks")
    s.lost.append(name)  # it may be what a rule on its way to solo ends with (seed 500045, I5)
    server.damaged_from = lowest + s.dice.between(0, (mark.flushed_lsn - lowest) // 128 - 1) * 128
    server.lost_wal = True
    s.fleet.kill_postmaster(name)
    return True


def data_directory_is_lost(s: Scene) -> None:
    """A new disk, mostly of a standby; then everything that was ever sent to it comes again."""
    name = s.one if s.dice.chance(750) else s.current_primary()
    if name in s.fleet.down:
        return
    s.fleet.world.count("data directories lost")
    s.fleet.lose_directory(name)
    if s.dice.chance(500):  # else it is removed under a running agent
        s.fleet.agents[name].host.kill_agent()
    s.lost.append(name)
    orders_of_its_former_self(s, name)


def orders_of_its_former_self(s: Scene, name: str) -> None:
    """It obeys none of them, whatever it becomes: they name another incarnation."""
    for _ in range(8):
        s.later(0, 5_000, lambda: s.fleet.late_order(name))


PLAIN: tuple[Fault, ...] = (
    agent_is_killed,
    agent_keeps_dying,
    agent_is_frozen,
    guard_is_killed,
    guard_is_frozen,
    both_are_killed,
    both_are_frozen,
    host_is_frozen,
    machine_is_paused,
    postgres_is_frozen,
    clocks_drift,
    backend_is_killed,
    walsender_is_ended,
    walreceiver_is_ended,
    checkpointer_stalls,
    disk_stalls,
    disk_fills,
)
AIMED: tuple[Fault, ...] = (
    control_is_cut_off_and_agents_die,
    frozen_primary_is_replaced,
    frozen_primary_is_replaced,
    reply_is_read_after_the_replacement,
    stale_leader_goes_on_granting,
    replay_is_held,
    promotion_fails,
    promotion_is_slow,
    candidate_dies_inside_its_promotion,
    candidate_dies_inside_its_promotion,
    disk_is_damaged,
    primary_s_disk_is_damaged,
)
