"""Faults of PostgreSQL's own processes and files."""

from __future__ import annotations

import signal

from deploy.lab.roles import Role
from orchestrator.core.diagnose import Diagnosis
from tests.chaos.said import REBUILDING
from tests.chaos.scenario import NO_INTERRUPTION_MS, Scenario, Then
from tests.chaos.scene import Scene

CRASHED_MS = 1_500
STAYS_UP_S = 3.0
NOTICED_WITHIN_S = 75.0


def _postmaster_killed(scene: Scene) -> None:
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    scene.await_failover()


def _one_backend_killed(scene: Scene) -> None:
    scene.kill(scene.primary_host, Role.BACKEND)
    scene.await_failover()


def _checkpointer_killed(scene: Scene) -> None:
    scene.kill(scene.primary_host, Role.CHECKPOINTER)
    scene.await_failover()


def _walsender_ended(scene: Scene) -> None:
    scene.kill(scene.primary_host, Role.WALSENDER, how=signal.SIGTERM)
    scene.hold(STAYS_UP_S)
    scene.await_writes()


def _walreceiver_killed(scene: Scene) -> None:
    scene.kill(scene.standby_hosts[0], Role.WALRECEIVER)
    scene.hold(STAYS_UP_S)
    scene.await_writes()


def _standbys_postmaster_killed(scene: Scene) -> None:
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.dice.choice(scene.standbys)))
    scene.hold(STAYS_UP_S)
    scene.await_writes()


def _postgresql_frozen(scene: Scene) -> None:
    scene.did(scene.faults.freeze_postgres(scene.shop, scene.primary))
    scene.await_failover()
    scene.hold(2.0)
    scene.faults.thaw_postgres(scene.shop, scene.primary)


def _data_directory_destroyed(scene: Scene) -> None:
    scene.did(scene.faults.destroy_data_directory(scene.shop, scene.primary))
    scene.await_failover()


def _standbys_data_directory_destroyed(scene: Scene) -> None:
    """PostgreSQL itself looks for its lock file once a minute, and ends where it is gone."""
    scene.did(scene.faults.destroy_data_directory(scene.shop, scene.standbys[0]))
    scene.until(lambda s: not s["whole"], "seen that a data directory is gone", NOTICED_WITHIN_S)
    scene.await_writes()


def _replay_paused(scene: Scene) -> None:
    for member in scene.standbys:
        scene.cluster.sql(member, "SELECT pg_wal_replay_pause()")
    scene.hold(2.0)
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    status = scene.await_failover()
    scene.hold(2.0)
    # Whoever paused it goes on with it: a standby whose replay stands still can't follow into the new timeline.
    for member in scene.standbys:
        if member != status["primary"]:
            scene.cluster.sql(member, "SELECT pg_wal_replay_resume()")


SCENARIOS = (
    Scenario(
        "postmaster killed",
        "a standby is promoted at once, without waiting for any silence",
        Then.MOVES,
        CRASHED_MS,
        _postmaster_killed,
        diagnosed=(Diagnosis.CRASHED,),
        history=("promoted", "serving"),
    ),
    Scenario(
        "one backend killed",
        "PostgreSQL ends with it (restart_after_crash=off), and a standby is promoted",
        Then.MOVES,
        CRASHED_MS,
        _one_backend_killed,
        diagnosed=(Diagnosis.CRASHED,),
    ),
    Scenario(
        "checkpointer killed",
        "PostgreSQL ends with it, and a standby is promoted",
        Then.MOVES,
        CRASHED_MS,
        _checkpointer_killed,
        diagnosed=(Diagnosis.CRASHED,),
    ),
    Scenario(
        "one walsender ended",
        "its standby connects anew, commits go on through the other one",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _walsender_ended,
    ),
    Scenario(
        "one walreceiver killed",
        "that standby starts again, commits go on through the other one",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _walreceiver_killed,
    ),
    Scenario(
        "standby's postmaster killed",
        "its agent starts it again, commits go on through the other one",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _standbys_postmaster_killed,
    ),
    Scenario(
        "PostgreSQL frozen, agent alive",
        "a standby is promoted; what thaws later is superseded and acknowledges nothing",
        Then.MOVES,
        3_500,
        _postgresql_frozen,
        diagnosed=(Diagnosis.CANT_WRITE,),
    ),
    Scenario(
        "data directory destroyed",
        "a standby is promoted, the member is cloned anew",
        Then.MOVES,
        10_000,
        _data_directory_destroyed,
        diagnosed=(
            Diagnosis.REBUILT,
            Diagnosis.CRASHED,
            Diagnosis.CANT_WRITE,
        ),
        whole_within_s=120.0,
        only_alone="with another disk out of reach, what was acknowledged may lie on the destroyed one alone",
        status=(REBUILDING,),
        covers=("S14",),
    ),
    Scenario(
        "standby's data directory destroyed",
        "it is cloned anew, commits go on through the other one",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _standbys_data_directory_destroyed,
        # libpq does not go on to the next host where one refuses with an error of its own.
        multihost_ms_max=80_000,
        whole_within_s=150.0,
        only_alone="in another's failover it may be the primary by then, and the last one that has everything",
        history=("cloned: there is no data directory yet",),
        status=(REBUILDING,),
    ),
    Scenario(
        "replay paused at the failover",
        "the candidate's replay goes on before it is promoted",
        Then.MOVES,
        5_000,
        _replay_paused,
        diagnosed=(Diagnosis.CRASHED,),
        only_alone="whoever pauses a replay goes on with it, which nobody can do on a host that is lost",
        status=("its replay is paused",),
    ),
)
