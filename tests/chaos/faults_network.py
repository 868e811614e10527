"""Faults of the paths between hosts that stay up."""

from __future__ import annotations

import subprocess
import sys

from deploy.lab.fault import Fault, now_us
from deploy.lab.filters import Carried, Way
from orchestrator.core.diagnose import Diagnosis
from tests.chaos.said import NO_UDP, RELAYED, SILENT, SUPERSEDED
from tests.chaos.scenario import NO_INTERRUPTION_MS, Scenario, Then
from tests.chaos.scene import Scene

A_WHILE_S = 8.0
MINUTES = 5
"""Of loss, and of busy cores."""
SPIN = "import time; ends = time.monotonic() + float(__import__('sys').argv[1])\nwhile time.monotonic() < ends: pass"


def _cut_from_control(scene: Scene) -> None:
    scene.did(scene.faults.links.cut(scene.primary_host, from_=scene.control_hosts))
    scene.hold(A_WHILE_S)


def _cut_from_leader(scene: Scene) -> None:
    scene.did(scene.faults.links.cut(scene.primary_host, from_=(scene.leader,)))
    scene.hold(A_WHILE_S)


def _cut_from_standbys(scene: Scene) -> None:
    scene.did(scene.faults.links.cut(scene.primary_host, from_=scene.standby_hosts))
    scene.until(lambda s: s["rule"] == "solo", "solo")
    scene.await_writes()
    scene.hold(2.0)
    scene.faults.links.heal(scene.primary_host)


def _cut_from_control_and_standbys(scene: Scene) -> None:
    """Clients still reach it, which is what makes it dangerous."""
    scene.did(scene.faults.links.cut(scene.primary_host, from_=(*scene.control_hosts, *scene.standby_hosts)))
    scene.await_failover()
    scene.hold(A_WHILE_S)


def _nothing_leaves(scene: Scene) -> None:
    scene.did(scene.faults.links.cut(scene.primary_host, way=Way.OUT))
    scene.await_failover()
    scene.hold(A_WHILE_S)


def _nothing_arrives(scene: Scene) -> None:
    scene.did(scene.faults.links.cut(scene.primary_host, way=Way.IN))
    scene.await_failover()
    scene.hold(A_WHILE_S)


def _udp_filtered(scene: Scene) -> None:
    scene.did(scene.faults.links.cut(scene.primary_host, carried=Carried.UDP))
    scene.hold(A_WHILE_S)


def _udp_filtered_everywhere(scene: Scene) -> None:
    for host in scene.control_hosts:
        members = (scene.primary_host, *scene.standby_hosts)
        scene.did(scene.faults.links.cut(host, from_=members, carried=Carried.UDP))
    scene.hold(A_WHILE_S)


def _tcp_filtered(scene: Scene) -> None:
    scene.did(scene.faults.links.cut(scene.primary_host, carried=Carried.TCP))
    scene.await_failover()
    scene.hold(2.0)


def _packet_loss(scene: Scene) -> None:
    scene.did(scene.faults.links.cut(scene.primary_host, percent=20))
    scene.hold(MINUTES * scene.minute_s)


def _flapping(scene: Scene) -> None:
    for _ in range(5):
        scene.did(scene.faults.links.cut(scene.primary_host))
        scene.hold(0.3)
        scene.faults.links.heal(scene.primary_host)
        scene.hold(1.0)
    scene.await_writes()


def _slow_standby(scene: Scene) -> None:
    scene.did(scene.faults.links.delay(scene.standby_hosts[0], 50))
    scene.hold(A_WHILE_S)


def _slow_primary(scene: Scene) -> None:
    scene.did(scene.faults.links.delay(scene.primary_host, 20))
    scene.hold(A_WHILE_S)


def _busy(scene: Scene) -> None:
    busy_s = MINUTES * scene.minute_s
    scene.did(Fault("both cores busy", "everywhere", now_us()))
    spinners = [
        scene.lab.launch_on("client", (sys.executable, "-c", SPIN, str(busy_s)), stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    for spinner in spinners:
        spinner.wait(busy_s * 2)


SCENARIOS = (
    Scenario(
        "primary cut from the control nodes only",
        "its peers pass its beats on, and receive from it: no failover, commits go on",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _cut_from_control,
        diagnosed=(Diagnosis.CONTROL_PATH_CUT,),
        also_diagnosed=(Diagnosis.AGENT_LOST,),  # where its standbys are heard before its beats come that way
        status=(RELAYED, SILENT),
    ),
    Scenario(
        "primary cut from the leader only",
        "another control node hears it: no failover, commits go on",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _cut_from_leader,
        diagnosed=(Diagnosis.CONTROL_PATH_CUT,),
    ),
    Scenario(
        "primary cut from its standbys only",
        "commits wait until the rule is solo, then it writes alone",
        Then.STAYS,
        6_000,
        _cut_from_standbys,
        diagnosed=(Diagnosis.QUORUM_AT_RISK,),
        history=("rule change.*solo",),
        status=("last_voter_lost",),
    ),
    Scenario(
        "primary cut from everybody but the clients",
        "a standby is promoted; what clients still reach acknowledges nothing and fences itself",
        Then.MOVES,
        4_000,
        _cut_from_control_and_standbys,
        diagnosed=(Diagnosis.HOST_LOST,),
        in_sample=True,
        history=("suspected",),
        status=(SUPERSEDED,),
    ),
    Scenario(
        "nothing leaves the primary",
        "it is silent: a standby is promoted",
        Then.MOVES,
        4_000,
        _nothing_leaves,
        diagnosed=(Diagnosis.HOST_LOST,),
        history=("suspected",),
        status=(SUPERSEDED,),
        covers=("T70",),
    ),
    Scenario(
        "nothing reaches the primary",
        "its beats arrive, but nobody can reach it: a standby is promoted",
        Then.MOVES,
        10_000,
        _nothing_arrives,
        diagnosed=(
            Diagnosis.OUT_OF_TOUCH,
            Diagnosis.HOST_LOST,
        ),
        covers=("T70",),
    ),
    Scenario(
        "UDP of the primary filtered, TCP not",
        "its PostgreSQL answers and streams: no failover, commits go on",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _udp_filtered,
        also_diagnosed=(Diagnosis.AGENT_LOST, Diagnosis.CONTROL_PATH_CUT),
        status=(NO_UDP,),
    ),
    Scenario(
        "UDP filtered everywhere, TCP not",
        "beats go over gRPC: no failover, commits go on",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _udp_filtered_everywhere,
        # For the moment in which the beats find the other path.
        also_diagnosed=(Diagnosis.AGENT_LOST, Diagnosis.CONTROL_PATH_CUT),
        status=(NO_UDP,),
    ),
    Scenario(
        "TCP of the primary filtered, UDP not",
        "its beats arrive, but no client and no standby reaches it: a standby is promoted",
        Then.MOVES,
        10_000,
        _tcp_filtered,
        diagnosed=(Diagnosis.OUT_OF_TOUCH,),
    ),
    Scenario(
        "20 % packet loss at the primary for five minutes",
        "no failover; clients see what TCP makes of it",
        Then.STAYS,
        60_000,
        _packet_loss,
        also_diagnosed=(
            Diagnosis.AGENT_LOST,
            Diagnosis.CONTROL_PATH_CUT,
        ),
    ),
    Scenario(
        "flapping link of the primary",
        "300 ms of silence are no loss: no failover",
        Then.STAYS,
        2_000,
        _flapping,
    ),
    Scenario(
        "one standby 100 ms away",
        "commits go on through the nearer one",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _slow_standby,
    ),
    Scenario(
        "primary 40 ms away from everybody",
        "every commit takes longer, nothing else",
        Then.STAYS,
        1_500,
        _slow_primary,
    ),
    Scenario(
        "both cores busy for five minutes",
        "no failover",
        Then.STAYS,
        1_500,
        _busy,
    ),
)
