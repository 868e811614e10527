"""The faults of the swarm: plain ones, and aimed ones that hit the cluster where it is most delicate.

A fault is a function of the fleet; it may let more happen later. What it must not do is to look at
what the code under test intends: it sees the record, as anybody could, and throws things.
Rule of admission: physics only (power, network, disks, processes, late messages, people).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.core.record import Phase
from tests.simulator.faults_host import HOST_AIMED, HOST_PLAIN
from tests.simulator.fleet import Fleet


@dataclass(frozen=True, slots=True)
class Scene:
    """Who is who when the fault begins; `one` is a standby drawn by lot, `others` the remaining ones."""

    fleet: Fleet
    primary: str
    one: str
    others: tuple[str, ...]

    @property
    def anybody(self) -> str:
        return self.fleet.world.dice.choice((self.primary, self.one, *self.others))

    def later(self, low_ms: int, high_ms: int, happen: Callable[[], None]) -> None:
        self.fleet.world.after(self.fleet.world.between(low_ms * 1_000, high_ms * 1_000), happen)

    def lasts(self, duration_ms: int) -> None:
        until_us = self.fleet.world.now_us + duration_ms * 1_000
        self.fleet.lasts_until_us = max(self.fleet.lasts_until_us, until_us)

    def cut(self, a: str, b: str, low_ms: int = 50, high_ms: int = 5_000) -> None:
        pair = frozenset((a, b))
        self.fleet.cut.add(pair)
        self.later(low_ms, high_ms, lambda: self.fleet.cut.discard(pair))

    def lose(self, name: str, low_ms: int = 100, high_ms: int = 6_000) -> None:
        self.fleet.lose_host(name)
        self.later(low_ms, high_ms, lambda: self.fleet.restart_host(name))

    def lose_primary(self) -> None:
        """However a primary is lost: the host, the postmaster, or the network around it."""
        name = self.current_primary()
        kind = self.fleet.world.dice.randrange(4)
        if kind <= 1:
            self.lose(name, 1_000, 6_000)
        elif kind == 2:
            self.fleet.kill_postmaster(name)
        else:
            self.isolate(name)

    def vanish(self) -> None:
        """The primary is gone for a while, and can't be asked."""
        name = self.current_primary()
        if self.fleet.world.chance(700):
            self.lose(name, 2_500, 6_000)
        else:
            self.isolate(name)

    def isolate(self, name: str) -> None:
        for other in (self.primary, self.one, *self.others, "control"):
            if other != name:
                self.cut(name, other, 500, 5_000)

    def current_primary(self) -> str:
        record = self.fleet.record()
        return self.primary if record is None or record.primary is None else str(record.primary)

    def lead_again(self, low_ms: int = 50, high_ms: int = 2_500) -> None:
        """Another control node leads a while after this one died."""
        control = self.fleet.control

        def succeed() -> None:
            if self.fleet.control is not control:
                return
            if control.alive:
                self.later(300, 600, succeed)
            else:
                self.fleet.replace_leader()

        self.later(low_ms, high_ms, succeed)


Fault = Callable[[Scene], None]


# Plain ones


def crash_primary(s: Scene) -> None:
    s.fleet.kill_postmaster(s.primary)


def crash_anybody(s: Scene) -> None:
    s.fleet.kill_postmaster(s.anybody)


def lose_primary(s: Scene) -> None:
    s.lose(s.primary)


def lose_anybody(s: Scene) -> None:
    s.lose(s.anybody)


def cut_two(s: Scene) -> None:
    a, b = s.fleet.world.dice.sample((s.primary, s.one, *s.others, "control"), 2)
    s.cut(a, b)


def restart_agent(s: Scene) -> None:
    s.fleet.restart_agent(s.anybody)


def isolate_primary(s: Scene) -> None:
    s.isolate(s.primary)


def switchover(s: Scene) -> None:
    s.fleet.switchover(None if s.fleet.world.chance(500) else s.one)


def late_orders(s: Scene) -> None:
    for _ in range(s.fleet.world.between(1, 12)):
        s.later(0, 1_500, s.fleet.late_order)


# The agents, at their steps


def agent_dies_at_a_step(s: Scene) -> None:
    """During whatever comes: most of all while a failover is under way."""
    for name in (s.primary, s.one, *s.others):
        if s.fleet.world.chance(600):
            s.fleet.agents[name].fuse = s.fleet.world.between(1, 14)
    if s.fleet.world.chance(700):
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
    victim = s.one if s.fleet.world.chance(700) else s.primary
    s.cut(victim, "control", 1_500, 4_000)
    s.later(0, 400, s.lose_primary)
    for _ in range(8):
        s.later(300, 3_000, lambda: s.fleet.late_order(victim))


# The leader, between its steps


def leader_dies_after_a_save(s: Scene) -> None:
    s.fleet.control.fail_after_save = s.fleet.world.between(1, 4)
    s.lead_again()
    s.later(0, 200, s.lose_primary)


def leader_dies_in_a_dispatch(s: Scene) -> None:
    def arm() -> None:
        s.fleet.control.fail_in_dispatch = s.fleet.world.between(1, 2)

    s.fleet.once(lambda record: record.phase is not Phase.STABLE, arm)
    s.lead_again(600, 3_000)
    s.later(0, 200, s.lose_primary)


def another_leader(s: Scene) -> None:
    s.fleet.replace_leader(kill=s.fleet.world.chance(500))


# Aimed: a quorum that is not what it seems


def only_one_voter_keeps_up(s: Scene) -> None:
    """`one` hangs or is cut off, so the others acknowledge alone; they fall silent together with the
    primary, and `one`, which lacks what they acknowledged, is all that the leader can still hear."""
    if s.fleet.world.chance(500):
        s.fleet.postgres[s.one].stalled_until = s.fleet.world.now_us + s.fleet.world.between(
            300_000, 2_500_000
        )
    else:
        s.cut(s.one, s.primary, 300, 3_000)

    def lose_the_others() -> None:
        for other in s.others:
            if s.fleet.world.chance(600):
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
        kind = s.fleet.world.dice.randrange(3)
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


PLAIN: tuple[Fault, ...] = (
    crash_primary,
    crash_anybody,
    lose_primary,
    lose_anybody,
    cut_two,
    restart_agent,
    isolate_primary,
    switchover,
    late_orders,
    *HOST_PLAIN,
)
_DELICATE: tuple[Fault, ...] = (
    agent_dies_at_a_step,
    agent_dies_after_obeying,
    late_orders_to_a_deaf_member,
    leader_dies_after_a_save,
    leader_dies_in_a_dispatch,
    another_leader,
    only_one_voter_keeps_up,
    new_primary_is_lost_at_once,
    voter_is_removed_while_the_other_lags,
    primary_is_lost_in_a_rule_change,
    primary_crashes_in_a_rule_change,
    candidate_is_killed_in_its_promotion,
    sealed_member_restarts,
    old_primary_comes_back,
    two_at_once,
    cascade,
)
_SELDOM_SUCCEED: tuple[Fault, ...] = (new_primary_is_lost_at_once, voter_is_removed_while_the_other_lags)
AIMED: tuple[Fault, ...] = (*_DELICATE, *_DELICATE, *_SELDOM_SUCCEED * 4, *HOST_AIMED)


def scene(fleet: Fleet) -> Scene:
    names = sorted(fleet.agents)
    record = fleet.record()
    primary = names[0] if record is None or record.primary is None else str(record.primary)
    standbys = [name for name in names if name != primary]
    one = fleet.world.dice.choice(standbys)
    return Scene(fleet, primary, one, tuple(name for name in standbys if name != one))
