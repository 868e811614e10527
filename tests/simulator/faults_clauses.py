"""Faults that each go for one clause of the protocol (docs/clauses.md), where the others seldom come by.

Rule of admission as in `faults.py`; each names its clauses.
"""

from __future__ import annotations

from common.facts import PostgresState
from common.rule import RuleKind
from orchestrator.core.record import Phase
from tests.simulator.dice import Dice
from tests.simulator.faults_host import damage_the_primary
from tests.simulator.model_network import CONTROL
from tests.simulator.model_parts import Conf
from tests.simulator.model_postgres import Postgres
from tests.simulator.scene import Fault, Scene


def leader_loses_the_others_first(s: Scene) -> None:
    """R1: the leader hears nobody but the primary, for longer than a standby may be silent; then the primary is
    lost or crashes. Sealing would turn a cut control path into an outage."""
    for other in (s.one, *s.others):
        s.cut(other, CONTROL, 4_500, 7_000)
    crash = s.dice.chance(500)
    s.later(2_100, 3_500, lambda: s.fleet.kill_postmaster(s.current_primary()) if crash else s.vanish())


def candidate_is_lost_when_nobody_else_is_heard(s: Scene) -> None:
    """R1: it falls silent a moment after the others; giving it up would leave nobody who can be asked."""

    def cut_the_others() -> None:
        record = s.fleet.record()
        if record is None or record.candidate is None:
            return
        candidate = str(record.candidate)
        for other in s.members:
            if other != candidate:
                s.cut(other, CONTROL, 3_000, 6_000)
        slow_promotions(s, 3_000_000, 1_000)
        s.later(20, 500, lambda: s.lose(candidate, 3_500, 6_000))

    s.fleet.once(lambda record: record.phase is Phase.PROMOTING, cut_the_others)
    s.vanish()


def slow_promotions(s: Scene, takes_us: int, for_ms: int) -> None:
    """Each that is signalled meanwhile takes so long."""

    def all_take(us: int) -> None:
        for server in s.fleet.postgres.values():
            server.promotion_takes_us = us

    all_take(takes_us)
    s.later(for_ms, for_ms, lambda: all_take(0))


def agent_is_away_over_a_slow_promotion(s: Scene) -> None:
    """R1, R4: PostgreSQL was told to promote, its agent is stopped; when it is back the epoch has gone on, and the
    promotion has not."""

    def slow_it_down() -> None:
        record = s.fleet.record()
        if record is None or record.candidate is None:
            return
        candidate = str(record.candidate)
        agent = s.fleet.agents[candidate]
        slow_promotions(s, 3_500_000, 3_500)

        def stop() -> None:
            if s.fleet.postgres[candidate].promoting and candidate not in s.fleet.down:
                agent.host.stop_service()
                s.later(2_000, 3_000, back)
            elif agent.alive:
                s.later(2, 8, stop)

        def back() -> None:
            if candidate not in s.fleet.down:
                agent.host.start_service()
                for _ in range(6):
                    s.later(150, 600, lambda: s.fleet.late_order(candidate))

        s.later(2, 8, stop)

    s.fleet.once(lambda record: record.phase is Phase.PROMOTING, slow_it_down)
    s.lose_primary()


def primary_s_agent_forgets_under_load(s: Scene) -> None:
    """R1, R13: nobody stops the primary, whose agent is another one now; it goes on acknowledging while the
    others seal."""
    record, world = s.fleet.record(), s.fleet.world
    if record is None or s.fleet.down or s.fleet.cut or not s.fleet.whole():
        return
    if not record.rule.waits or len(record.rules) > 1 or world.counts.get("agents that forgot"):
        return  # once in a run: a second one could take what nobody else can tell
    world.count("agents that forgot")
    s.fleet.lose_state(s.primary)
    s.lost.append(s.primary)
    load(s, 1_200)


def primary_crashes_under_load(s: Scene) -> None:
    """R5: what it had flushed and nobody had received lies past every switch point."""
    load(s, 400)
    s.later(5, 80, lambda: s.fleet.kill_postmaster(s.current_primary()))


def receivers_stall_after_a_promotion(s: Scene) -> None:
    """R5: they connect and say how far they are, and get nothing of the new timeline."""
    only_voters = s.dice.chance(500)

    def stall() -> None:
        record = s.fleet.record()
        voters = set() if record is None else {str(v.member) for v in record.rule.voters}
        for name in s.members:
            if name in voters or not only_voters:
                server = s.fleet.postgres[name]
                server.stalled_until = s.fleet.world.now_us + s.dice.between(1_000_000, 3_000_000)

    s.fleet.once(lambda record: record.phase is Phase.PROMOTING, stall)
    s.fleet.kill_postmaster(s.primary)


def checkpointers_stall(s: Scene) -> None:
    """R5, R6, E7: whether backends wait at all is a flag that the checkpointer sets, however late."""
    world = s.fleet.world
    for server in s.fleet.postgres.values():
        server.checkpointer_stalls_until = world.now_us + s.dice.between(1_000_000, 6_000_000)
    for other in (s.one, *s.others):
        if s.dice.chance(600):
            s.cut(other, s.primary, 1_000, 4_000)
        if s.dice.chance(300):
            s.cut(other, CONTROL, 1_000, 4_000)
    s.later(0, 2_000, lambda: s.fleet.kill_postmaster(s.current_primary()))
    s.later(2_500, 6_000, s.lose_primary)
    load(s, 400)


def alone_and_crashed(s: Scene) -> None:
    """R5, R8: nobody can take over, so it starts again in place; what it acknowledges then, the others have."""
    for other in (s.one, *s.others):
        s.cut(other, CONTROL, 3_500, 4_500)
        if s.dice.chance(500):
            s.cut(other, s.primary, 3_500, 4_500)
    s.later(100, 300, lambda: s.fleet.kill_postmaster(s.primary))


def rule_change_that_nobody_hears_of(s: Scene) -> None:
    """R6, R8: the new rule is in force and confirmed, the leader does not hear it; the primary crashes, and
    starts again in place with the rule that it stored last."""

    def cut_all() -> None:
        for name in s.members:
            s.cut(name, CONTROL, 4_500, 5_500)
        s.later(300, 900, lambda: s.fleet.kill_postmaster(s.current_primary()))

    s.fleet.once(lambda record: len(record.rules) == 2, lambda: s.later(8, 12, cut_all))
    stay_ms = s.fleet.profile.voter_lost_ms
    s.lose(s.one, stay_ms // 2, stay_ms + 1_500)


def one_stays_with_the_old_primary(s: Scene) -> None:
    """R9: both are cut off together, so it receives what nobody acknowledges; then it hears of the new epoch,
    still streaming from the old one."""
    if s.fleet.spec.k < 2 or len(s.others) < 2:
        return  # with k = 1 nobody could take over without it
    for other in s.others:
        s.cut(other, s.primary, 4_500, 5_500)
        s.cut(other, s.one, 2_500, 3_500)
    s.cut(s.primary, CONTROL, 4_500, 5_500)
    s.cut(s.one, CONTROL, 2_500, 3_500)


def candidate_is_killed_again_and_again(s: Scene) -> None:
    """R4: each time PostgreSQL had got as far as promoting, and the record had not. Nobody is there but those whose
    seals are needed, so that somebody is the candidate again, under the same rule, with more in its log."""
    world, record = s.fleet.world, s.fleet.record()
    until_us = world.now_us + 9_000_000
    rule = None if record is None else record.rule
    needed = rule.seals_needed if rule is not None and rule.kind is RuleKind.QUORUM else 1
    for other in s.others[needed - 1 :]:
        s.lose(other, 9_000, 10_000)
    s.lose(s.primary, 9_000, 10_000)

    def look() -> None:
        record = s.fleet.record()
        candidate = None if record is None or record.phase is not Phase.PROMOTING else record.candidate
        if candidate is not None and s.fleet.postgres[candidate].state is PostgresState.PRIMARY:
            s.fleet.kill_postmaster(candidate)
        if world.now_us < until_us:
            s.after(5_000, look)

    look()
    world.run_until(until_us)


def load(s: Scene, writes: int) -> None:
    """One after the other, as fast as a busy cluster."""
    s.fleet.write()
    if writes:
        s.fleet.world.after(s.dice.between(100, 500), lambda: load(s, writes - 1))


def solo_primary_vanishes(s: Scene) -> None:
    """R1, R2: nobody but the primary may have what it acknowledged alone; all others are back before it."""
    alone_ms = s.fleet.profile.voter_lost_ms + 1_500
    for other in (s.one, *s.others):
        s.lose(other, alone_ms, alone_ms + 200)
    s.fleet.once(
        lambda record: [rule.kind for rule in record.rules] == [RuleKind.SOLO],
        lambda: s.later(0, 300, lambda: s.lose(s.current_primary(), 2_500, 5_000)),
    )


def damaged_primary_cannot_be_replaced(s: Scene) -> None:
    """R8, R13: its disk loses what it had flushed, and perhaps its agent forgot as well, while the leader hears no
    voter: nobody may take over, and it must neither start again where it was nor count as itself afterwards. Some of
    its voters are lost for longer than that, and they may be those who acknowledged."""
    s.lasts(12_000)
    for other in (s.one, *s.others):
        s.cut(other, CONTROL, 5_000, 7_000)

    def damage() -> None:
        name = s.current_primary()
        if not damage_the_primary(s) or s.dice.chance(500):
            return
        s.fleet.lose_state(name)
        for other in s.others:
            s.lose(other, 8_000, 11_000)

    s.later(2_600, 3_200, damage)  # until then the leader counts them as answering


def sealed_primary_loses_power(s: Scene) -> None:
    """R1: its postmaster is killed under load, so what it wrote last is in the page cache only; it is sealed with that
    as its end, and the power of its host is cut. What a seal says must still be there."""
    alone_ms = s.fleet.profile.voter_lost_ms + 1_500 if s.dice.chance(500) else 0
    s.lasts(alone_ms + 3_000)
    if alone_ms:
        for other in (s.one, *s.others):
            s.lose(other, alone_ms, alone_ms + 200)
    s.later(alone_ms + 100, alone_ms + 700, lambda: _crash_seal_and_cut_the_power(s))


def _crash_seal_and_cut_the_power(s: Scene) -> None:
    victim, tries = s.current_primary(), iter(range(400))
    agent, epoch = s.fleet.agents[victim], s.fleet.agents[victim].state.obeyed.epoch

    def cut_off() -> None:
        if agent.state.sealed_epoch > epoch:
            s.fleet.world.count("sealed primaries that lost power")
            s.later(0, 80, lambda: s.fleet.bounce_host(victim))
        elif next(tries, None) is not None:
            s.later(2, 5, cut_off)

    load(s, 60)
    s.later(10, 15, lambda: s.fleet.kill_postmaster(victim))
    s.later(15, 20, cut_off)


def host_comes_back_with_an_old_copy(s: Scene) -> None:
    """R13: the data directory is a copy of yesterday, and the agent's state is gone with the host."""
    fleet, record = s.fleet, s.fleet.record()
    victim = s.anybody
    if record is None or fleet.down or not fleet.whole():
        return
    if not record.rule.waits or len(record.rules) > 1 or fleet.world.counts.get("hosts with an old copy"):
        return  # a second one in a run could take what nobody else has
    fleet.world.count("hosts with an old copy")
    fleet.lose_host(victim)
    fleet.agents[victim].forget()
    s.lost.append(victim)
    fleet.checkers.forgot(victim)
    nothing, boot = s.dice.chance(300), fleet.agents[victim].boot

    def back() -> None:
        if victim in fleet.down and fleet.agents[victim].boot == boot:  # not lost anew since (seed 840001296)
            _yesterday(fleet.postgres[victim], s.dice, nothing=nothing)
            fleet.restart_host(victim)
            for _ in range(4):  # what was meant for the incarnation that is lost
                s.later(0, 600, lambda: fleet.late_order(victim))

    s.later(300, 2_500, back)
    if s.dice.chance(600):
        only_the_old_copy_is_heard(s, victim)


def _yesterday(server: Postgres, dice: Dice, *, nothing: bool) -> None:
    if nothing:
        server.wipe()
        return
    server.disks += 1
    server.cut(server.log[dice.between(len(server.log) // 2, len(server.log) - 1)].start if server.log else 0)
    server.histories = {t: f for t, f in server.histories.items() if t <= server.timeline}
    server.conf, server.slots, server.standby_signal = Conf(), set(), True


def only_the_old_copy_is_heard(s: Scene, victim: str) -> None:
    for other in s.members:
        if other != victim and s.dice.chance(700):
            s.later(0, 2_000, lambda name=other: s.cut(name, CONTROL, 2_000, 5_000))  # type: ignore[misc]
    if victim != s.primary:
        s.later(200, 3_000, s.vanish)


AT_A_CLAUSE: tuple[Fault, ...] = (
    damaged_primary_cannot_be_replaced,
    sealed_primary_loses_power,
    leader_loses_the_others_first,
    candidate_is_lost_when_nobody_else_is_heard,
    agent_is_away_over_a_slow_promotion,
    agent_is_away_over_a_slow_promotion,
    primary_s_agent_forgets_under_load,
    solo_primary_vanishes,
    primary_crashes_under_load,
    receivers_stall_after_a_promotion,
    checkpointers_stall,
    alone_and_crashed,
    candidate_is_killed_again_and_again,
    rule_change_that_nobody_hears_of,
    one_stays_with_the_old_primary,
    host_comes_back_with_an_old_copy,
    host_comes_back_with_an_old_copy,
)
