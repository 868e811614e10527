"""Aimed faults: they hit the cluster where it is most delicate, most of all while a failover is under way.

They see the record, as anybody could, and throw things; what the code under test intends they don't look at.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core.record import Phase, Record
from tests.simulator.faults_clauses import load
from tests.simulator.scene import Scene

# The agents, at their steps


def agent_dies_at_a_step(s: Scene) -> None:
    """During whatever comes: most of all while a failover is under way."""
    for name in s.members:
        if s.dice.chance(600):
            s.fleet.agents[name].fuse = s.dice.between(1, 14)
    if s.dice.chance(700):
        s.later(0, 200, s.lose_primary)


def agent_dies_after_obeying(s: Scene) -> None:
    """It stored the order, and nothing was done about it; late orders reach it when it is back."""
    victim = s.anybody

    def at_the_next_record() -> None:
        def die() -> None:
            s.fleet.restart_agent(victim)
            for _ in range(3):
                s.later(0, 150, lambda: s.fleet.late_order(victim))

        s.later(1, 12, die)

    s.fleet.once(lambda record: record.phase is not Phase.STABLE, at_the_next_record)
    s.later(0, 100, s.lose_primary)


def late_orders_to_a_deaf_member(s: Scene) -> None:
    """It hears nothing of the leader; what was on its way to it arrives much later, in any order."""
    victim = s.one if s.dice.chance(700) else s.primary
    s.cut(victim, "control", 1_500, 4_000)
    s.later(0, 400, s.lose_primary)
    for _ in range(8):
        s.later(300, 3_000, lambda: s.fleet.late_order(victim))


# The leader, between its steps


def leader_dies_after_a_save(s: Scene) -> None:
    s.fleet.control.fail_after_save = s.dice.between(1, 4)
    s.lead_again()
    s.later(0, 200, s.lose_primary)


def leader_dies_in_a_dispatch(s: Scene) -> None:
    def arm() -> None:
        s.fleet.control.fail_in_dispatch = s.dice.between(1, 2)

    s.fleet.once(lambda record: record.phase is not Phase.STABLE, arm)
    s.lead_again(600, 3_000)
    s.later(0, 200, s.lose_primary)


# Aimed: a quorum that is not what it seems


def only_one_voter_keeps_up(s: Scene) -> None:
    """`one` hangs or is cut off, so the others acknowledge alone; they fall silent together with the
    primary, and `one`, which lacks what they acknowledged, is all that the leader can still hear."""
    if s.dice.chance(500):
        s.fleet.postgres[s.one].stalled_until = s.fleet.world.now_us + s.dice.between(300_000, 2_500_000)
    else:
        s.cut(s.one, s.primary, 300, 3_000)

    def lose_the_others() -> None:
        for other in s.others:
            if s.dice.chance(600):
                s.cut(other, "control", 2_500, 5_000)
            else:
                s.lose(other, 2_500, 5_000)
        s.later(0, 30, s.vanish)

    s.later(30, 500, lose_the_others)


def new_primary_is_lost_at_once(s: Scene) -> None:
    """Just promoted, followed by nobody yet: what it inherited is nowhere else."""
    s.cut(s.one, s.primary, 2_000, 4_000)
    for other in s.others:
        s.cut(s.one, other, 2_000, 4_000)

    def then() -> None:
        def lose() -> None:
            s.lose(s.current_primary(), 2_500, 6_000)

        s.fleet.once(lambda record: record.phase is Phase.STABLE, lambda: s.later(0, 60, lose))
        s.vanish()

    s.later(50, 600, then)


def what_only_the_new_primary_has(s: Scene) -> None:
    """`one` alone keeps up, so it becomes the primary; nobody reaches it there, and it is lost at once. The
    others are left, who lack what was acknowledged: nobody may take over before it, or the old one, is back."""
    for other in s.others:
        s.cut(other, s.primary, 1_500, 3_000)

    def alone() -> None:
        for other in s.others:
            s.cut(s.one, other, 2_000, 4_000)

    def then() -> None:
        s.fleet.once(lambda record: record.phase is Phase.PROMOTING, alone)
        s.fleet.once(
            lambda record: record.phase is Phase.STABLE,
            lambda: s.later(0, 60, lambda: s.lose(s.current_primary(), 2_500, 6_000)),
        )
        s.vanish()

    s.later(100, 600, then)


def voter_is_removed_while_the_other_lags(s: Scene) -> None:
    """The voter that acknowledged is lost for longer than a rule waits for it, the one that stays lags."""
    stay_ms = s.fleet.profile.voter_lost_ms
    stay_ms += 3_000  # its walsender looks alive until wal_sender_timeout
    s.lasts(stay_ms + 4_500)
    s.fleet.postgres[s.one].stalled_until = s.fleet.world.now_us + (stay_ms + 4_000) * 1_000

    def lose_the_others() -> None:
        for other in s.others:
            s.lose(other, stay_ms + 3_500, stay_ms + 6_000)
        s.fleet.once(
            lambda record: len(record.rules) == 2,
            lambda: s.later(20, 1_600, s.vanish),  # a walsender that hangs is waited for a while
        )

    s.later(50, 400, lose_the_others)


def all_must_have_it_and_one_hangs(s: Scene) -> None:
    """R6 (3): a person wants every standby to have everything, while `one` hangs, for less than a walsender waits: its
    stream looks well, and it lacks what the others acknowledge meanwhile. Once the record asks for all of them, `one` is
    all that is left: by that rule its word alone is enough."""
    every, spec = len(s.members) - 1, s.fleet.spec
    if every == 1:
        return  # nobody acknowledges without it
    at_ms = 0
    if spec.k == every:
        s.fleet.apply(replace(spec, k=every - 1))
        at_ms = 1_000
    s.lasts(at_ms + 4_000)

    def asks_for_all(record: Record) -> bool:
        return [rule.k for rule in record.rules] == [every]

    def only_one_is_left() -> None:
        for other in s.others:
            s.lose(other, 2_500, 5_000)
        s.lose(s.current_primary(), 2_500, 6_000)

    def hang() -> None:
        s.fleet.postgres[s.one].stalled_until = s.fleet.world.now_us + s.ms(1_200, 2_500)
        load(s, 100)
        s.later(20, 150, want_all)

    def want_all() -> None:
        s.fleet.once(asks_for_all, lambda: s.later(0, 60, only_one_is_left))
        s.fleet.apply(replace(s.fleet.spec, k=every))

    s.later(at_ms, at_ms + 200, hang)


# Aimed: in the middle of something


def primary_is_lost_in_a_rule_change(s: Scene) -> None:
    s.fleet.once(lambda record: len(record.rules) == 2, lambda: s.later(0, 40, s.lose_primary))
    stay_ms = s.fleet.profile.voter_lost_ms
    s.lose(s.one, stay_ms // 2, stay_ms + 1_500)


def primary_crashes_in_a_rule_change(s: Scene) -> None:
    """As above, but its host lives: it can be sealed, so the failover is never out of reach."""

    def crash() -> None:
        s.fleet.kill_postmaster(s.current_primary())

    s.fleet.once(lambda record: len(record.rules) == 2, lambda: s.later(0, 40, crash))
    s.lose(s.one, s.fleet.profile.voter_lost_ms, s.fleet.profile.voter_lost_ms + 1_500)


def candidate_is_killed_in_its_promotion(s: Scene) -> None:
    def kill() -> None:
        record = s.fleet.record()
        if record is None or record.candidate is None:
            return
        name = str(record.candidate)
        kind = s.dice.draw(3)
        if kind == 0:
            s.lose(name, 500, 4_000)
        elif kind == 1:
            s.fleet.kill_postmaster(name)
        else:
            s.fleet.restart_agent(name)

    s.fleet.once(lambda record: record.phase is Phase.PROMOTING, lambda: s.later(0, 120, kill))
    s.lose_primary()


def sealed_member_restarts(s: Scene) -> None:
    """Its seal was reported; its host goes off and on, and old orders come again."""

    def bounce() -> None:
        s.fleet.bounce_host(s.one)
        for _ in range(3):
            s.later(50, 900, lambda: s.fleet.late_order(s.one))

    s.fleet.once(lambda record: record.phase is Phase.SEALING, lambda: s.later(5, 60, bounce))
    s.lose_primary()


def old_primary_comes_back(s: Scene) -> None:
    """While it was away another took over; it hears its old orders first."""
    s.fleet.lose_host(s.primary)

    def back() -> None:
        s.fleet.restart_host(s.primary)
        for _ in range(6):
            s.later(0, 600, lambda: s.fleet.late_order(s.primary))

    s.later(800, 4_000, back)


def two_at_once(s: Scene) -> None:
    s.lose(s.one, 500, 5_000)
    s.later(0, 20, s.lose_primary)


def cascade(s: Scene) -> None:
    """Every primary is lost as soon as it is one."""

    def again() -> None:
        s.later(0, 300, s.lose_primary)

    for _ in range(2):
        s.fleet.once(lambda record: record.phase is Phase.STABLE and record.epoch > 1, again)
    s.lose_primary()
