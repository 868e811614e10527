"""Members that come, while something else goes wrong."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core.spec import ClusterSpec, MemberSpec
from tests.simulator.scene import Scene


def joins_while_a_host_is_lost(s: Scene, now: Scene, spec: ClusterSpec) -> None:
    """R7, R13: the file names `one` again, which joins anew, sometimes with a new disk. Before it counts, mostly, the
    primary's host is lost, or that of another member, or of itself."""
    fleet, world = s.fleet, s.fleet.world
    if s.dice.chance(400):
        fleet.lose_directory(now.one)
        fleet.agents[now.one].host.kill_agent()
        s.lost.append(now.one)
    fleet.apply(spec)
    world.run_until(world.now_us + s.dice.between(0, 3_000_000))
    lost = s.dice.pick((now.primary, now.primary, now.primary, *now.others, now.one))
    fleet.lose_host(lost)
    world.count("members that join while a host is lost")
    world.run_until(world.now_us + s.dice.between(100_000, 3_000_000))
    fleet.restart_host(lost)


def with_member(spec: ClusterSpec, changed: MemberSpec) -> ClusterSpec:
    return replace(spec, members=tuple(changed if m.name == changed.name else m for m in spec.members))
