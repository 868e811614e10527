"""Faults that each go for one clause of the protocol (docs/clauses.md), where the others seldom come by.

Rule of admission as in `faults.py`; each names its clauses.
"""

from __future__ import annotations

from common.facts import PostgresState
from common.rule import RuleKind
from orchestrator.core.record import Phase
from tests.simulator.faults import Fault, Scene
from tests.simulator.model_parts import Conf


def leader_loses_the_others_first(s: Scene) -> None:
    """R1: the leader hears nobody but the primary, for longer than a standby may be silent; then the primary is
    lost or crashes. Sealing would turn a cut control path into an outage."""
    for other in (s.one, *s.others):
        s.cut(other, "control", 4_500, 7_000)
    crash = s.fleet.world.chance(500)
    s.later(2_100, 3_500, lambda: s.fleet.kill_postmaster(s.current_primary()) if crash else s.vanish())


def candidate_is_lost_when_nobody_else_is_heard(s: Scene) -> None:
    """R1: it falls silent a moment after the others; giving it up would leave nobody who can be asked."""

    def cut_the_others() -> None:
        record = s.fleet.record()
        if record is None or record.candidate is None:
            return
        candidate = str(record.candidate)
        for other in (s.primary, s.one, *s.others):
            if other != candidate:
                s.cut(other, "control", 3_000, 6_000)
        s.fleet.world.slow_promotion_us = 3_000_000
        s.later(20, 500, lambda: s.lose(candidate, 3_500, 6_000))
        s.later(1_000, 1_000, lambda: setattr(s.fleet.world, "slow_promotion_us", 0))

    s.fleet.once(lambda record: record.phase is Phase.PROMOTING, cut_the_others)
    s.vanish()


def promotion_is_slow(s: Scene) -> None:
    """R1, R4: PostgreSQL was told to promote, its agent dies; when it is back the epoch has gone on, and the
    promotion has not."""

    def slow_it_down() -> None:
        record, world = s.fleet.record(), s.fleet.world
        if record is None or record.candidate is None:
            return
        candidate = str(record.candidate)
        agent = s.fleet.agents[candidate]
        world.slow_promotion_us = 4_000_000
        s.later(4_000, 4_000, lambda: setattr(world, "slow_promotion_us", 0))

        def die() -> None:
            if s.fleet.postgres[candidate].promoting and candidate not in s.fleet.down:
                agent.die()
                s.later(2_000, 3_000, back)
            elif agent.alive:
                s.later(2, 8, die)

        def back() -> None:
            if not agent.alive and candidate not in s.fleet.down:
                agent.boot_up()
                for _ in range(4):
                    s.later(0, 60, lambda: s.fleet.late_order(candidate))

        s.later(2, 8, die)

    s.fleet.once(lambda record: record.phase is Phase.PROMOTING, slow_it_down)
    s.lose_primary()


def primary_s_agent_forgets_under_load(s: Scene) -> None:
    """R1, R13: nobody stops the primary, whose agent is another one now; it goes on acknowledging while the
    others seal."""
    record, world = s.fleet.record(), s.fleet.world
    if record is None or record.phase is not Phase.STABLE or record.prior or s.fleet.down or s.fleet.cut:
        return
    if not record.rule.waits or len(record.rules) > 1 or world.counts.get("agents that forgot"):
        return  # once in a run: a second one could take what nobody else can tell
    world.count("agents that forgot")
    s.fleet.lose_state(s.primary)
    load(s, 1_200)


def load(s: Scene, writes: int) -> None:
    """One after the other, as fast as a busy cluster."""
    s.fleet.write()
    if writes:
        s.fleet.world.after(s.fleet.world.between(100, 500), lambda: load(s, writes - 1))


def solo_primary_vanishes(s: Scene) -> None:
    """R1, R2: nobody but the primary may have what it acknowledged alone; all others are back before it."""
    alone_ms = s.fleet.profile.voter_lost_ms + 1_500
    for other in (s.one, *s.others):
        s.lose(other, alone_ms, alone_ms + 200)
    s.fleet.once(
        lambda record: [rule.kind for rule in record.rules] == [RuleKind.SOLO],
        lambda: s.later(0, 300, lambda: s.lose(s.current_primary(), 2_500, 5_000)),
    )


def host_comes_back_with_an_old_copy(s: Scene) -> None:
    """R13: the data directory is a copy of yesterday, and the agent's state is gone with the host."""
    fleet, record = s.fleet, s.fleet.record()
    victim = s.anybody
    if record is None or record.phase is not Phase.STABLE or record.prior or fleet.down:
        return
    if not record.rule.waits or len(record.rules) > 1 or fleet.world.counts.get("hosts with an old copy"):
        return  # a second one in a run could take what nobody else has
    fleet.world.count("hosts with an old copy")
    fleet.lose_host(victim)
    fleet.agents[victim].forget()
    fleet.checkers.forgot(victim)
    server = fleet.postgres[victim]
    if fleet.world.chance(300):
        server.state, server.system_identifier, server.marker = PostgresState.ABSENT, "", ()
        server.log.clear()
    del server.log[fleet.world.between(len(server.log) // 2, len(server.log)) :]
    server.timeline = server.log[-1].timeline if server.log else 1
    server.history = tuple(step for step in server.history if step.timeline < server.timeline)
    server.histories = {t: f for t, f in server.histories.items() if t <= server.timeline}
    server.conf, server.slots, server.standby_signal = Conf(), set(), True
    s.later(300, 2_500, lambda: fleet.restart_host(victim))
    if fleet.world.chance(600):
        only_the_old_copy_is_heard(s, victim)


def only_the_old_copy_is_heard(s: Scene, victim: str) -> None:
    for other in (s.primary, s.one, *s.others):
        if other != victim and s.fleet.world.chance(700):
            s.later(0, 2_000, lambda name=other: s.cut(name, "control", 2_000, 5_000))  # type: ignore[misc]
    if victim != s.primary:
        s.later(200, 3_000, s.vanish)


AT_A_CLAUSE: tuple[Fault, ...] = (
    leader_loses_the_others_first,
    candidate_is_lost_when_nobody_else_is_heard,
    promotion_is_slow,
    promotion_is_slow,
    primary_s_agent_forgets_under_load,
    solo_primary_vanishes,
    host_comes_back_with_an_old_copy,
    host_comes_back_with_an_old_copy,
)
