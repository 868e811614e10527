"""Faults of whole hosts and sites."""

from __future__ import annotations

import time

from orchestrator.core.diagnose import Diagnosis
from tests.chaos.said import ANOTHER_TERM, SILENT, SUPERSEDED
from tests.chaos.scenario import NO_INTERRUPTION_MS, Scenario, Then
from tests.chaos.scene import Scene

HOST_LOST_MS = 2_500
# Above the bound on stale reads: by now a superseded primary has fenced itself.
FENCED_BY_NOW_S = 8.0
HISTORY_OF_SILENCE = ("suspected", "promoted", "serving")


def _host_lost(scene: Scene) -> None:
    scene.did(scene.faults.lose_host(scene.primary_host))
    scene.await_failover()
    scene.restart(scene.primary_host)


def _isolated_and_healed(scene: Scene) -> None:
    scene.did(scene.faults.links.isolate(scene.primary_host))
    scene.await_failover()
    scene.hold(FENCED_BY_NOW_S)
    scene.faults.links.heal(scene.primary_host)


def _isolated_shortly(scene: Scene) -> None:
    """Healed at about the moment at which the others decide."""
    scene.did(scene.faults.links.isolate(scene.primary_host))
    scene.hold(scene.dice.uniform(0.7, 1.5))
    scene.faults.links.heal(scene.primary_host)
    scene.await_writes()


def _frozen_and_thawed(scene: Scene) -> None:
    scene.freeze(scene.primary_host)
    scene.await_failover()
    scene.hold(scene.dice.uniform(0.5, FENCED_BY_NOW_S))
    scene.thaw(scene.primary_host)
    scene.hold(2.0)


def _frozen_shortly(scene: Scene) -> None:
    scene.freeze(scene.primary_host)
    scene.hold(0.4)
    scene.thaw(scene.primary_host)
    scene.await_writes()


def _restarted_at_once(scene: Scene) -> None:
    scene.did(scene.faults.lose_host(scene.primary_host))
    scene.restart(scene.primary_host)
    scene.await_failover()


def _restarted_with_another_clock(scene: Scene) -> None:
    scene.did(scene.faults.lose_host(scene.primary_host))
    scene.await_failover()
    # No clock of a process may stand before the machine's own start: the kernel refuses that.
    scene.restart(scene.primary_host, clock_shift_s=-min(3_600, int(time.monotonic()) // 2))
    scene.cluster.whole(60.0, epoch_at_least=scene.epoch + 1)


def _standby_lost_and_back(scene: Scene) -> None:
    host = scene.dice.choice(scene.standby_hosts)
    scene.did(scene.faults.lose_host(host))
    scene.until(lambda s: not s["whole"], "seen that a standby is lost")
    scene.hold(4.0)
    scene.await_writes()
    scene.restart(host)


def _standby_isolated(scene: Scene) -> None:
    host = scene.dice.choice(scene.standby_hosts)
    scene.did(scene.faults.links.isolate(host))
    scene.hold(8.0)  # a voter is lost after five
    scene.faults.links.heal(host)


def _both_standbys_lost(scene: Scene) -> None:
    for host in scene.standby_hosts:
        scene.did(scene.faults.lose_host(host))
    scene.until(lambda s: s["rule"] == "solo", "solo")
    scene.await_writes()
    for host in scene.standby_hosts:
        scene.restart(host)


def _primary_and_standby_lost(scene: Scene) -> None:
    """The last member can't know what was acknowledged: it must not take over. With the standby back it may."""
    lost = scene.dice.choice(scene.standby_hosts)
    scene.did(scene.faults.lose_host(scene.primary_host))
    scene.did(scene.faults.lose_host(lost))
    scene.hold(6.0)
    status = scene.cluster.watch.newest
    scene.insist(
        status is not None and (status["epoch"] == scene.epoch or status["phase"] == "SEALING"),
        "somebody was promoted although a commit may lie on the two lost members alone",
    )
    scene.restart(lost)
    scene.await_failover(60.0)


def _site_lost(scene: Scene) -> None:
    site = scene.site_of(scene.primary_host)
    names = [host.name for host in scene.lab.plan.site(site)]
    for name in names:
        scene.did(scene.faults.lose_host(name))
    scene.await_failover()
    for name in names:
        scene.restart(name)


def _site_isolated(scene: Scene) -> None:
    site = scene.site_of(scene.primary_host)
    scene.did(scene.faults.links.cut_site(site))
    scene.await_failover()
    scene.hold(FENCED_BY_NOW_S)
    scene.faults.links.heal(site)


def _leader_and_primary_lost(scene: Scene) -> None:
    """Together with the control node's etcd member."""
    scene.did(scene.faults.lose_host(scene.leader))
    scene.did(scene.faults.lose_host(scene.primary_host))
    scene.await_failover()
    scene.restart(scene.leader)
    scene.restart(scene.primary_host)


SCENARIOS = (
    Scenario(
        "host lost",
        "a standby is promoted once witnesses confirm the silence",
        Then.MOVES,
        HOST_LOST_MS,
        _host_lost,
        diagnosed=(Diagnosis.HOST_LOST,),
        history=HISTORY_OF_SILENCE,
        covers=("S13", "S1"),
    ),
    Scenario(
        "host isolated and healed",
        "a standby is promoted, the isolated primary fences itself and is attached again",
        Then.MOVES,
        HOST_LOST_MS,
        _isolated_and_healed,
        diagnosed=(Diagnosis.HOST_LOST,),
        history=HISTORY_OF_SILENCE,
        status=(SUPERSEDED,),
        covers=("S34",),
    ),
    Scenario(
        "host isolated for a second",
        "either it stays or a standby is promoted, never both",
        Then.EITHER,
        6_000,
        _isolated_shortly,
        also_diagnosed=(Diagnosis.HOST_LOST,),
    ),
    Scenario(
        "host frozen and thawed after the failover",
        "a standby is promoted, what thaws acknowledges nothing and is attached again",
        Then.MOVES,
        HOST_LOST_MS,
        _frozen_and_thawed,
        diagnosed=(Diagnosis.HOST_LOST,),
        history=HISTORY_OF_SILENCE,
        status=(SUPERSEDED,),
        covers=("T37",),
    ),
    Scenario(
        "host frozen for 400 ms",
        "it is late and not lost: no failover",
        Then.STAYS,
        1_500,
        _frozen_shortly,
    ),
    Scenario(
        "host restarted at once",
        "a standby is promoted, or the old primary in a later epoch; nobody opens what is superseded",
        Then.MOVES,
        8_000,
        _restarted_at_once,
        diagnosed=(
            Diagnosis.HOST_LOST,
            Diagnosis.CRASHED,
        ),
    ),
    Scenario(
        "host lost, back with its clock an hour behind",
        "a clock that goes back changes nothing but when",
        Then.MOVES,
        HOST_LOST_MS,
        _restarted_with_another_clock,
        diagnosed=(Diagnosis.HOST_LOST,),
        covers=("T38",),
    ),
    Scenario(
        "standby lost and back",
        "it leaves the rule and comes back into it while commits go on",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _standby_lost_and_back,
        history=("rule change",),
        status=(SILENT,),
    ),
    Scenario(
        "standby isolated and healed",
        "it leaves the rule and comes back into it while commits go on",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _standby_isolated,
        history=("rule change",),
        status=(SILENT,),
    ),
    Scenario(
        "both standbys lost and back",
        "commits wait until the rule is solo, then the primary goes on alone",
        Then.STAYS,
        6_000,
        _both_standbys_lost,
        diagnosed=(Diagnosis.QUORUM_AT_RISK,),
        history=("rule change.*none that may vote streams any more.*solo",),
        status=(SILENT,),
        covers=("S29",),
    ),
    Scenario(
        "primary and one standby lost together",
        "nobody is promoted and it is said who is missing; with the standby back a failover follows",
        Then.MOVES,
        20_000,
        _primary_and_standby_lost,
        diagnosed=(Diagnosis.HOST_LOST,),
        history=("(no failover|sealed): .*missing: ",),
        status=(
            "seals_out_of_reach|seals_awaited",
            SILENT,
        ),
    ),
    Scenario(
        "primary's whole site lost",
        "a standby elsewhere is promoted, whoever led there",
        Then.MOVES,
        9_000,
        _site_lost,
        diagnosed=(Diagnosis.HOST_LOST,),
        also_diagnosed=(Diagnosis.OBSERVER_ISOLATED,),
        covers=("S76",),
    ),
    Scenario(
        "primary's whole site isolated and healed",
        "a standby elsewhere is promoted, the site's primary fences itself and is attached again",
        Then.MOVES,
        9_000,
        _site_isolated,
        diagnosed=(Diagnosis.HOST_LOST,),
        also_diagnosed=(Diagnosis.OBSERVER_ISOLATED,),
    ),
    Scenario(
        "leader and primary's host lost together",
        "another control node takes over and promotes a standby",
        Then.MOVES,
        9_000,
        _leader_and_primary_lost,
        diagnosed=(Diagnosis.HOST_LOST,),
        status=(ANOTHER_TERM,),
    ),
)
