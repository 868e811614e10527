"""Faults of the agent and its guard on the primary's host: none of them may stop a primary (I14)."""

from __future__ import annotations

import signal

from deploy.lab.roles import Role
from orchestrator.core.diagnose import Diagnosis
from tests.chaos.scenario import NO_INTERRUPTION_MS, Scenario, Then
from tests.chaos.scene import Scene

# Longer than a lease, which is what the agent and the guard keep alive together.
LONGER_THAN_A_LEASE_S = 7.0
COMES_BACK_S = 4.0


def _agent_killed(scene: Scene) -> None:
    scene.kill(scene.primary_host, Role.AGENT)
    scene.hold(COMES_BACK_S)


def _agent_frozen(scene: Scene) -> None:
    scene.kill(scene.primary_host, Role.AGENT, how=signal.SIGSTOP)
    scene.hold(LONGER_THAN_A_LEASE_S)


def _guard_killed(scene: Scene) -> None:
    scene.kill(scene.primary_host, Role.GUARD)
    scene.hold(COMES_BACK_S)


def _guard_frozen(scene: Scene) -> None:
    scene.kill(scene.primary_host, Role.GUARD, how=signal.SIGSTOP)
    scene.hold(LONGER_THAN_A_LEASE_S)


def _both_killed(scene: Scene) -> None:
    scene.did(scene.faults.kill_together(scene.primary_host, Role.GUARD, Role.AGENT))
    scene.hold(COMES_BACK_S)


def _standbys_agent_killed(scene: Scene) -> None:
    scene.kill(scene.standby_hosts[0], Role.AGENT)
    scene.hold(COMES_BACK_S)


def _agent_killed_then_postmaster(scene: Scene) -> None:
    scene.kill(scene.primary_host, Role.AGENT)
    scene.hold(scene.dice.uniform(0.0, 0.5))
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    scene.await_failover()


SCENARIOS = (
    Scenario(
        "agent killed",
        "the guard starts another one, PostgreSQL is left alone",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _agent_killed,
        also_diagnosed=(Diagnosis.AGENT_LOST,),
        hurts_the_guard=True,
    ),
    Scenario(
        "agent frozen",
        "the guard replaces it after half a lease, PostgreSQL is left alone",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _agent_frozen,
        diagnosed=(Diagnosis.AGENT_LOST,),
        hurts_the_guard=True,
    ),
    Scenario(
        "guard killed",
        "the agent hands its deadline to a new guard, PostgreSQL is left alone",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _guard_killed,
        # Silent for a moment, while it comes back as the child of another guard.
        also_diagnosed=(Diagnosis.AGENT_LOST,),
        hurts_the_guard=True,
    ),
    Scenario(
        "guard frozen",
        "the agent takes another guard, PostgreSQL is left alone",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _guard_frozen,
        # Silent for a moment, while it comes back as the child of another guard.
        also_diagnosed=(Diagnosis.AGENT_LOST,),
        hurts_the_guard=True,
    ),
    Scenario(
        "agent and guard killed",
        "the init system starts them, PostgreSQL goes on meanwhile",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _both_killed,
        also_diagnosed=(Diagnosis.AGENT_LOST,),
        hurts_the_guard=True,
    ),
    Scenario(
        "standby's agent killed",
        "the standby goes on and its agent comes back",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _standbys_agent_killed,
    ),
    Scenario(
        "agent killed, then the postmaster",
        "the next agent says that its postmaster is gone, or silence does, and a standby is promoted",
        Then.MOVES,
        6_000,
        _agent_killed_then_postmaster,
        diagnosed=(
            Diagnosis.CRASHED,
            Diagnosis.HOST_LOST,
        ),
        also_diagnosed=(Diagnosis.AGENT_LOST,),
        hurts_the_guard=True,
    ),
)
