"""Faults of disks: stalled (writes hang, `SELECT 1` works) and full."""

from __future__ import annotations

from orchestrator.core.diagnose import Diagnosis
from tests.chaos.said import ATTACHING
from tests.chaos.scenario import NO_INTERRUPTION_MS, Scenario, Then
from tests.chaos.scene import Scene

STALL_S = 6.0


def _stalled(scene: Scene) -> None:
    scene.did(scene.faults.disks.stall(scene.primary_host))
    scene.await_failover()
    scene.hold(STALL_S)
    scene.faults.disks.resume(scene.primary_host)
    scene.hold(2.0)


def _stalled_shortly(scene: Scene) -> None:
    scene.did(scene.faults.disks.stall(scene.primary_host))
    scene.hold(0.5)
    scene.faults.disks.resume(scene.primary_host)
    scene.await_writes()


def _standby_stalled(scene: Scene) -> None:
    host = scene.standby_hosts[0]
    scene.did(scene.faults.disks.stall(host))
    scene.hold(STALL_S)
    scene.faults.disks.resume(host)


def _full(scene: Scene) -> None:
    # PostgreSQL may want room for its WAL, and go down, before anybody has measured the disk (once in some ten plays).
    scene.did(scene.faults.disks.fill(scene.primary_host))
    scene.await_failover()
    scene.hold(2.0)
    scene.faults.disks.give_back(scene.primary_host)


def _standby_full(scene: Scene) -> None:
    host = scene.standby_hosts[0]
    scene.did(scene.faults.disks.fill(host))
    scene.cluster.sql(scene.primary, "SELECT pg_switch_wal()")
    scene.hold(STALL_S)
    scene.faults.disks.give_back(host)


SCENARIOS = (
    Scenario(
        "disk of the primary stalled",
        "its commits hang although it answers: a standby is promoted",
        Then.MOVES,
        4_500,
        _stalled,
        diagnosed=(Diagnosis.CANT_WRITE,),
        in_sample=True,
        covers=("T39",),
    ),
    Scenario(
        "disk of the primary stalled for half a second",
        "commits take longer, nothing else",
        Then.STAYS,
        2_000,
        _stalled_shortly,
    ),
    Scenario(
        "disk of a standby stalled",
        "commits go on through the other one",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _standby_stalled,
        history=("rule change",),
        status=(ATTACHING,),
    ),
    Scenario(
        "disk of the primary full",
        "it can't write any more: a standby is promoted",
        Then.MOVES,
        30_000,
        _full,
        diagnosed=(
            Diagnosis.DISK_FULL,
            Diagnosis.CANT_WRITE,
        ),
        covers=("S98", "T46"),
        hurts_the_canary=True,  # it replaces one row where it is, for which there is room yet; inserts find none
    ),
    Scenario(
        "disk of a standby full",
        "commits go on through the other one",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _standby_full,
        status=("its disk is full",),
        covers=("T46",),
    ),
)
