"""Faults that bring about what the others hardly ever do: each goes for a clause whose loss nobody else noticed.

Rule of admission as in `faults.py`; each names its clauses, and what must come together for them to matter.
"""

from __future__ import annotations

from dataclasses import replace

from common.facts import PostgresState
from orchestrator.core.record import Phase, Record
from tests.simulator.faults_clauses import load
from tests.simulator.model_directory import Volume
from tests.simulator.model_network import CONTROL
from tests.simulator.model_parts import RECORD
from tests.simulator.scene import Fault, Scene


def rewind_is_cut_short(s: Scene) -> None:
    """R13: what is left of it is no log that anybody may count on, and the next thing that its agent hears is that it
    is to seal."""
    victim = s.primary
    agent, server = s.fleet.agents[victim], s.fleet.postgres[victim]
    s.lasts(9_000)
    for other in (*s.members, CONTROL):
        if other != victim:
            s.cut(victim, other, 2_500, 3_500)

    def back() -> None:
        if victim not in s.fleet.down:
            agent.host.start_service()

    def watch(left: int) -> None:
        if server.state is PostgresState.HALF and agent.alive:
            s.fleet.world.count("rewinds and clones cut short")
            agent.host.stop_service()
            s.later(0, 100, lambda: s.fleet.kill_postmaster(s.current_primary()))
            s.later(200, 1_500, back)
        elif left:
            s.after(20_000, lambda: watch(left - 1))

    watch(420)


def old_directory_is_put_back(s: Scene) -> None:
    """R7, R13: a volume breaks, the member is cloned onto a new one; a person mends the old one and puts it in again.
    The agent has its state, and the directory is that of another incarnation."""
    fleet, victim = s.fleet, s.one
    agent, server = fleet.agents[victim], fleet.postgres[victim]
    if fleet.down or not fleet.whole() or fleet.world.counts.get("volumes put in again"):
        return  # a second one in a run could take what nobody else has
    if server.state is not PostgresState.STANDBY:
        return  # another fault of this round has taken it already (seed 6000101)
    volume, before = Volume(server), agent.state.incarnation
    fleet.lose_directory(victim)
    agent.host.kill_agent()
    s.lost.append(victim)
    s.lasts(8_000)

    def watch(left: int) -> None:
        if fleet.whole() and agent.state.incarnation != before and victim not in fleet.down:
            fleet.world.count("volumes put in again")
            fleet.lose_host(victim)
            volume.mount(server)
            s.later(50, 500, lambda: fleet.restart_host(victim))
            s.later(50, 1_500, s.lose_primary)
        elif left:
            s.after(50_000, lambda: watch(left - 1))

    watch(150)


def reports_of_the_primary_stop(s: Scene) -> None:
    """R6: TCP between the primary and the control nodes is filtered, its datagrams pass; meanwhile the rule is to
    change. What is known of the primary is old, and nothing is begun on it."""
    name = s.current_primary()
    for_us = s.ms(4_500, 7_000)
    for place in s.fleet.network.controls:
        s.fleet.network.filter_streams(name, place, for_us)
    s.lasts(for_us // 1_000)
    if s.dice.chance(500):
        s.lose(s.one, 5_000, 8_000)
    else:
        s.later(2_500, 4_000, lambda: _prefer_nobody_but(s, s.one))


def _prefer_nobody_but(s: Scene, name: str) -> None:
    """It may never be the primary, nor a voter; taken back at the end of the round."""
    spec = s.fleet.spec
    members = tuple(replace(m, nofailover=True) if m.name == name else m for m in spec.members)
    s.fleet.apply(replace(spec, members=members))


def tail_of_the_old_primary_is_damaged(s: Scene) -> None:
    """R7: it told where its log ends and was given leave to throw that away; then its disk loses the last of it, which
    nobody has and nobody needs. What would be thrown away is not what the leave names."""
    victim = s.current_primary()
    agent, server = s.fleet.agents[victim], s.fleet.postgres[victim]
    s.lasts(7_000)
    for other in (*s.members, CONTROL):
        if other != victim:
            s.cut(victim, other, 2_000, 3_500)
    load(s, 200)

    def is_given_leave(record: Record) -> bool:
        member = record.member(agent.state.member)
        return member is not None and member.rebuild is not None

    def damage() -> None:
        record, mark = s.fleet.record(), agent.state.flushed_mark
        if record is None or server.state is not PostgresState.STOPPED or server.damaged_from is not None:
            return
        forks = [int(step.switch_lsn) for step in record.history if step.timeline == server.timeline]
        lowest = max([0 if mark is None else int(mark.flushed_lsn), *forks]) // RECORD + 1
        highest = server.end // RECORD - 1
        if lowest <= highest:
            s.fleet.world.count("tails damaged under a leave to rebuild")
            server.damaged_from = s.dice.between(lowest, highest) * RECORD
            server.lost_wal = True

    s.fleet.once(is_given_leave, damage)


def second_candidate_is_followed_by_nobody(s: Scene) -> None:
    """R11: the first candidate fails, the second one is promoted and lost before anybody has a record of its timeline;
    so the first one has a real history file above one that is none, and is promoted over both."""
    if len(s.members) != 3:
        return
    fleet = s.fleet
    s.lasts(10_000)
    for name in (s.one, *s.others):
        fleet.postgres[name].promotion_fails = True

    def first() -> None:
        record = fleet.record()
        for name in (s.one, *s.others):
            if record is not None and record.candidate != name:
                fleet.postgres[name].promotion_fails = False
        fleet.once(lambda later: later.phase is Phase.PROMOTING, second)

    def second() -> None:
        s.cut(s.one, s.others[0], 9_000, 9_000)
        fleet.once(
            lambda later: later.phase is Phase.STABLE,
            lambda: s.later(200, 900, lambda: s.lose(s.current_primary(), 5_000, 7_000)),
        )

    fleet.once(lambda record: record.phase is Phase.PROMOTING, first)
    s.lose(s.primary, 9_000, 9_500)


def wal_is_removed_meanwhile(s: Scene) -> None:
    """R9, R13: a standby comes back to a primary that has no WAL any more for it. It fits, and streams from nobody.

    What voters need is kept: one that needs what was removed can't be cloned, and where it is needed takes a person."""
    fleet = s.fleet
    s.lasts(14_000)
    s.lose(s.one, 6_000, 8_000)
    load(s, 200)

    def remove() -> None:
        server, record = fleet.postgres[s.current_primary()], fleet.record()
        if server.state is not PostgresState.PRIMARY or record is None:
            return
        server.recycle(
            fleet.postgres[m.name].end for m in record.members if record.is_voter_or_named(m.voter)
        )

    s.later(4_000, 5_900, remove)
    if s.dice.chance(400):
        s.later(3_000, 13_000, s.lose_primary)


HARD: tuple[Fault, ...] = (
    wal_is_removed_meanwhile,
    rewind_is_cut_short,
    old_directory_is_put_back,
    reports_of_the_primary_stop,
    tail_of_the_old_primary_is_damaged,
    second_candidate_is_followed_by_nobody,
)
