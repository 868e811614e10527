"""Brings the bench's faults about, with the lab's calls, and says when each began.

`Faults.mend_all` takes all of them back.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deploy.bench import kinds
from deploy.bench.kinds import Kind
from deploy.lab.fault import Fault, now_us
from deploy.lab.faults import Faults
from deploy.lab.lab import LabFailed
from deploy.lab.roles import Role
from deploy.lab.witnessed import Witnessed


@dataclass(frozen=True, slots=True)
class Scene:
    """Who is who before the fault. `leader`: the control node, also its host's name."""

    cluster: Witnessed
    primary: str
    leader: str
    dice: random.Random
    behind: str | None = None
    """The standby whose replay is held back."""

    @property
    def faults(self) -> Faults:
        return self.cluster.lab.faults

    @property
    def primary_host(self) -> str:
        return self.cluster.host_of(self.primary)


def bring(kind: Kind, scene: Scene) -> Fault:
    """LabFailed, ProcessLookupError: it could not be brought about."""
    return _BRING[kind](scene)


def _postmaster_killed(scene: Scene) -> Fault:
    return scene.faults.kill_postmaster(scene.cluster.cluster, scene.primary)


def _switchover(scene: Scene) -> Fault:
    """Half of them to a named member, so that everybody is the primary now and then."""
    others = [member for member in scene.cluster.members if member not in (scene.primary, scene.behind)]
    to = ("--to", scene.dice.choice(others)) if scene.dice.random() < 0.5 else ()
    at_us = now_us()
    done = scene.cluster.lab.primacy("switchover", scene.cluster.cluster, *to)
    if done.returncode != 0:
        raise LabFailed(f"primacy switchover: {(done.stdout + done.stderr).strip()}")
    return Fault("switchover", scene.primary_host, at_us)


def _host_lost(scene: Scene) -> Fault:
    return scene.faults.lose_host(scene.primary_host)


def _host_isolated(scene: Scene) -> Fault:
    return scene.faults.links.isolate(scene.primary_host)


def _postgres_frozen(scene: Scene) -> Fault:
    return scene.faults.freeze_postgres(scene.cluster.cluster, scene.primary)


def _disk_stalled(scene: Scene) -> Fault:
    return scene.faults.disks.stall(scene.primary_host)


def _disk_full(scene: Scene) -> Fault:
    return scene.faults.disks.fill(scene.primary_host)


def _agent_killed(scene: Scene) -> Fault:
    return scene.faults.signal_process(scene.primary_host, Role.AGENT, signal.SIGKILL)


def _agent_frozen(scene: Scene) -> Fault:
    return scene.faults.signal_process(scene.primary_host, Role.AGENT, signal.SIGSTOP)


def _leader_killed(scene: Scene) -> Fault:
    return scene.faults.signal_process(scene.leader, Role.ORCHESTRATOR, signal.SIGKILL)


def _all_control_down(scene: Scene) -> Fault:
    plan = scene.cluster.lab.plan
    first, *_ = [scene.faults.stop_daemon(daemon) for daemon in (*plan.orchestrators, *plan.etcds)]
    return first


_BRING: Mapping[Kind, Callable[[Scene], Fault]] = {
    kinds.POSTMASTER_KILLED: _postmaster_killed,
    kinds.SWITCHOVER: _switchover,
    kinds.HOST_LOST: _host_lost,
    kinds.HOST_ISOLATED: _host_isolated,
    kinds.POSTGRES_FROZEN: _postgres_frozen,
    kinds.DISK_STALLED: _disk_stalled,
    kinds.DISK_FULL: _disk_full,
    kinds.AGENT_KILLED: _agent_killed,
    kinds.AGENT_FROZEN: _agent_frozen,
    kinds.LEADER_KILLED: _leader_killed,
    kinds.ALL_CONTROL_DOWN: _all_control_down,
}
