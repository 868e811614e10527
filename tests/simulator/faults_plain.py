"""Plain faults: one thing goes wrong, as it does in the real world."""

from __future__ import annotations

from dataclasses import replace

from tests.simulator.faults_host import orders_of_its_former_self
from tests.simulator.scene import Scene


def crash_primary(s: Scene) -> None:
    s.fleet.kill_postmaster(s.primary)


def crash_anybody(s: Scene) -> None:
    s.fleet.kill_postmaster(s.anybody)


def lose_primary(s: Scene) -> None:
    s.lose(s.primary)


def lose_anybody(s: Scene) -> None:
    s.lose(s.anybody)


def cut_two(s: Scene) -> None:
    a, b = s.dice.some((*s.members, *s.fleet.network.controls), 2)
    s.cut(a, b)


def restart_agent(s: Scene) -> None:
    s.fleet.restart_agent(s.anybody)


def isolate_primary(s: Scene) -> None:
    s.isolate(s.primary)


def switchover(s: Scene) -> None:
    s.fleet.switchover(None if s.dice.chance(500) else s.one)


def late_orders(s: Scene) -> None:
    for _ in range(s.dice.between(1, 12)):
        s.later(0, 1_500, s.fleet.late_order)


def lost_state(s: Scene) -> None:
    """An agent's state is gone for good: it is another incarnation from now on."""
    victim = s.anybody
    s.fleet.lose_state(victim)
    s.lost.append(victim)
    orders_of_its_former_self(s, victim)


def k_is_changed(s: Scene) -> None:
    """A person wants more, or fewer, to have everything; then the primary is lost, somewhere on the way there."""
    most = len(s.members) - 1
    s.fleet.apply(replace(s.fleet.spec, k=s.dice.between(1, min(most, 3))))
    s.later(0, 2_500, s.lose_primary)


def preferences_change(s: Scene) -> None:
    """Priorities, and who may never be the primary, change while things happen."""
    names = s.dice.some(s.members, s.dice.between(1, 2))
    never, priority = s.dice.chance(400), s.dice.pick((50, 100, 200))
    members = tuple(
        replace(m, nofailover=never, priority=priority) if m.name in names and m.name != s.primary else m
        for m in s.fleet.spec.members
    )
    s.fleet.apply(replace(s.fleet.spec, members=members))
    s.later(0, 2_500, s.lose_primary)
