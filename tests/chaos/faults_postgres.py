"""Faults of PostgreSQL's own processes and files."""

from __future__ import annotations

import signal
from contextlib import ExitStack

from deploy.lab.roles import Role
from orchestrator.core.diagnose import Diagnosis
from tests.chaos.said import REBUILDING
from tests.chaos.scenario import NO_INTERRUPTION_MS, Scenario, Then
from tests.chaos.scene import Scene

CRASHED_MS = 1_500
SEGMENTS_MS = 2_000
"""Whole segments of 16 MiB are on their way to the voters then, before the next commit."""
STAYS_UP_S = 3.0
NOTICED_WITHIN_S = 75.0
WHOLE_WITHIN_S = 60.0


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


def _replay_blocked(scene: Scene) -> None:
    """A query on each standby, and WAL that wants the lock that it has: replay waits for it, up to
    max_standby_streaming_delay (30 s). The new primary finds a voter in the old one, which its agent starts again."""
    table = f"chaos_blocked_{scene.epoch}"
    scene.cluster.sql(scene.primary, f"CREATE TABLE {table} (n int)")
    scene.hold(1.0)
    with ExitStack() as queries:
        asked = {
            member: queries.enter_context(
                scene.cluster.asking(member, f"SELECT count(*), pg_sleep(60) FROM {table}")
            )
            for member in scene.standbys
        }
        scene.hold(1.0)
        scene.cluster.sql(scene.primary, f"DROP TABLE {table}")
        scene.hold(2.0)
        ended = [member for member, query in asked.items() if query.poll() is not None]
        scene.insist(not ended, f"the query that was to block replay ended on {ended}")
        scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
        scene.await_failover()


def _standbys_wal_removed(scene: Scene) -> None:
    """What the standby needs is kept neither by its slot, as beyond max_slot_wal_keep_size, nor by wal_keep_size."""
    standby = scene.dice.choice(scene.standbys)
    scene.did(scene.faults.lose_host(scene.host(standby)))
    mine = f"FROM pg_replication_slots WHERE slot_name ~ '^{standby}_'"
    scene.until_sql(scene.primary, f"SELECT count(*) {mine} AND active", "0", "walsender of a lost host gone")
    try:
        for text in (
            f"SELECT pg_drop_replication_slot(slot_name) {mine} AND NOT active",
            "ALTER SYSTEM SET wal_keep_size = 0",
            "SELECT pg_reload_conf()",
            *(3 * ("SELECT pg_logical_emit_message(true, 'chaos', 'x')", "SELECT pg_switch_wal()")),
            "CHECKPOINT",
        ):
            scene.cluster.sql(scene.primary, text)
    finally:
        for text in ("ALTER SYSTEM RESET wal_keep_size", "SELECT pg_reload_conf()"):
            scene.cluster.sql(scene.primary, text)
    scene.restart(scene.host(standby))
    scene.until(lambda s: bool(s["whole"]), "whole with a clone of the standby", WHOLE_WITHIN_S)
    scene.await_writes()


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
    Scenario(
        "replay blocked by a query at the failover",
        "the query is ended on the candidate, which replays what it has and is promoted",
        Then.MOVES,
        5_000,
        _replay_blocked,
        diagnosed=(Diagnosis.CRASHED,),
        covers=("T11",),
    ),
    Scenario(
        "standby comes back to WAL that was removed",
        "it is cloned, commits go on through the other one",
        Then.STAYS,
        SEGMENTS_MS,
        _standbys_wal_removed,
        history=(r"is cloned: needs WAL from \S+ on, and \w+ has it from \S+ on",),
        status=(REBUILDING,),
        whole_within_s=120.0,
        only_alone="whoever is the primary in the middle of it keeps the setting that makes it remove its WAL",
        covers=("T31", "T32"),
    ),
)
