"""Faults of the control nodes, of etcd, and of the name server."""

from __future__ import annotations

import signal

from deploy.lab.fleet import NAME_SERVER_HOST
from deploy.lab.roles import Role
from orchestrator.core.diagnose import Diagnosis
from tests.chaos.said import ANOTHER_TERM, NAMES, NO_ETCD, UNREACHABLE
from tests.chaos.scenario import NO_INTERRUPTION_MS, Scenario, Then
from tests.chaos.scene import Scene

# Longer than a lease of leadership, and than a primary's.
A_WHILE_S = 15.0
# By then the lease of leadership has run out, and whoever asks hears that nobody leads.
LED_NO_MORE_S = 6.0
NAMED = f"{NAME_SERVER_HOST}/named"


def _leader_killed(scene: Scene) -> None:
    term = scene.term
    scene.kill(scene.leader, Role.ORCHESTRATOR)
    # Its successor may be itself: the init system starts it again before its lease of leadership has run out.
    scene.until(lambda s: s["leader"] != "" and s["term"] > term, f"led in a term after {term}")
    scene.await_writes()


def _leader_frozen(scene: Scene) -> None:
    scene.kill(scene.leader, Role.ORCHESTRATOR, how=signal.SIGSTOP)
    scene.await_another_leader()
    scene.hold(2.0)
    scene.faults.thaw_host(scene.leader)
    scene.hold(3.0)


def _leader_frozen_with_failover(scene: Scene) -> None:
    """It thaws with an old view after another one has left the epoch. That one leads up to 3.5 s later, and nobody waits for
    more than 3 s before the primary is started again where it is: so the postmaster dies a second after the leader froze."""
    scene.kill(scene.leader, Role.ORCHESTRATOR, how=signal.SIGSTOP)
    scene.hold(1.0)
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    scene.await_failover()
    scene.faults.thaw_host(scene.leader)
    scene.hold(3.0)


def _all_down(scene: Scene) -> None:
    down = scene.lab.plan.orchestrators
    for daemon in down:
        scene.did(scene.faults.stop_daemon(daemon))
    scene.ask()
    scene.hold(max(A_WHILE_S, scene.minute_s))
    scene.await_writes()
    for daemon in down:
        scene.faults.start_daemon(daemon)


def _all_down_and_etcd(scene: Scene) -> None:
    down = [*scene.lab.plan.orchestrators, *scene.lab.plan.etcds]
    for daemon in down:
        scene.did(scene.faults.stop_daemon(daemon))
    scene.ask()
    scene.hold(A_WHILE_S)
    scene.await_writes()
    for daemon in reversed(down):
        scene.faults.start_daemon(daemon)


def _control_hosts_isolated(scene: Scene) -> None:
    for host in scene.control_hosts:
        scene.did(scene.faults.links.isolate(host))
    scene.ask()
    scene.hold(A_WHILE_S)
    for host in scene.control_hosts:
        scene.faults.links.heal(host)


def _primary_lost_without_control(scene: Scene) -> None:
    """Nobody decides; the next leader does."""
    down = scene.lab.plan.orchestrators
    for daemon in down:
        scene.did(scene.faults.stop_daemon(daemon))
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    scene.ask()
    scene.hold(5.0)
    for daemon in down:
        scene.faults.start_daemon(daemon)
    scene.await_writes()


def _etcd_minority(scene: Scene) -> None:
    scene.did(scene.faults.stop_daemon(f"{scene.dice.choice(scene.etcd_hosts)}/etcd"))
    scene.ask()
    scene.hold(6.0)


def _etcd_majority(scene: Scene) -> None:
    lost = scene.dice.sample(scene.etcd_hosts, 2)
    for host in lost:
        scene.did(scene.faults.stop_daemon(f"{host}/etcd"))
    scene.hold(LED_NO_MORE_S)
    scene.ask()
    scene.hold(max(A_WHILE_S, scene.minute_s) - LED_NO_MORE_S)
    scene.await_writes()
    for host in lost:
        scene.faults.start_daemon(f"{host}/etcd")


def _etcd_leader_and_ours(scene: Scene) -> None:
    etcd = scene.etcd_leader()
    scene.did(scene.faults.stop_daemon(f"{etcd}/etcd"))
    scene.did(scene.faults.stop_daemon(f"{scene.leader}/orchestrator"))
    scene.await_another_leader()
    scene.hold(2.0)
    scene.await_writes()


def _etcd_leader_and_primary(scene: Scene) -> None:
    etcd = scene.etcd_leader()
    scene.did(scene.faults.stop_daemon(f"{etcd}/etcd"))
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    scene.await_failover()


def _etcd_frozen(scene: Scene) -> None:
    """All of its members: every call of it lasts until it thaws."""
    for host in scene.etcd_hosts:
        scene.kill(host, Role.ETCD, how=signal.SIGSTOP)
    scene.hold(LED_NO_MORE_S)
    scene.ask()
    scene.hold(A_WHILE_S - LED_NO_MORE_S)
    scene.await_writes()
    for host in scene.etcd_hosts:
        scene.faults.thaw_host(host)


def _control_slow(scene: Scene) -> None:
    """Everything that control nodes and etcd say to anybody takes 60 ms more, each way."""
    for host in scene.control_hosts:
        scene.did(scene.faults.links.delay(host, 30))
    scene.hold(A_WHILE_S)


def _control_slow_with_failover(scene: Scene) -> None:
    for host in scene.control_hosts:
        scene.faults.links.delay(host, 30)
    scene.hold(3.0)
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    scene.await_failover()


def _name_server_down(scene: Scene) -> None:
    """Names can't move before it is back; those who know all hosts need no name."""
    scene.did(scene.faults.stop_daemon(NAMED))
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    scene.until(lambda s: s["epoch"] > scene.epoch and s["phase"] == "STABLE", "STABLE in another epoch")
    scene.await_multihost_writes()
    scene.hold(3.0)
    scene.faults.start_daemon(NAMED)
    scene.await_writes()


def _name_server_frozen(scene: Scene) -> None:
    scene.kill(NAME_SERVER_HOST, Role.NAMED, how=signal.SIGSTOP)
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    scene.until(lambda s: s["epoch"] > scene.epoch and s["phase"] == "STABLE", "STABLE in another epoch")
    scene.await_multihost_writes()
    scene.hold(3.0)
    scene.faults.thaw_host(NAME_SERVER_HOST)
    scene.await_writes()


SCENARIOS = (
    Scenario(
        "leader killed",
        "a control node leads in another term, the primary is left alone",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _leader_killed,
        status=(ANOTHER_TERM,),
    ),
    Scenario(
        "leader frozen and thawed after another took over",
        "its late orders have no effect",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _leader_frozen,
        status=(ANOTHER_TERM,),
        covers=("T63",),
    ),
    Scenario(
        "leader frozen, postmaster killed, leader thawed",
        "another control node promotes a standby, the late one changes nothing",
        Then.MOVES,
        8_000,
        _leader_frozen_with_failover,
        diagnosed=(Diagnosis.CRASHED,),
        status=(ANOTHER_TERM,),
    ),
    Scenario(
        "all control nodes down for a minute",
        "the primary lives by its own commits, nobody notices",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _all_down,
        status=(
            UNREACHABLE,
            ANOTHER_TERM,
        ),
    ),
    Scenario(
        "all control nodes and etcd down for a while",
        "the primary lives by its own commits, nobody notices",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _all_down_and_etcd,
        status=(
            UNREACHABLE,
            ANOTHER_TERM,
        ),
    ),
    Scenario(
        "all control hosts isolated for a while",
        "the primary lives by its own commits, nobody notices",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _control_hosts_isolated,
        status=(UNREACHABLE,),
    ),
    Scenario(
        "postmaster killed while all control nodes are down",
        "nobody decides until one is back, which then does",
        Then.EITHER,
        10_000,
        _primary_lost_without_control,
        also_diagnosed=(Diagnosis.CRASHED,),
        status=(UNREACHABLE,),
    ),
    Scenario(
        "etcd minority lost",
        "nobody notices",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _etcd_minority,
    ),
    Scenario(
        "etcd majority lost for a minute",
        "nobody leads; the primary lives by its own commits",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _etcd_majority,
        status=(NO_ETCD, ANOTHER_TERM),
        covers=("S18", "S48"),
    ),
    Scenario(
        "etcd's leader and ours lost together",
        "both elect another one, the primary is left alone",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _etcd_leader_and_ours,
        status=(ANOTHER_TERM,),
    ),
    Scenario(
        "etcd's leader and the postmaster lost together",
        "a standby is promoted as soon as etcd has elected",
        Then.MOVES,
        8_000,
        _etcd_leader_and_primary,
        diagnosed=(Diagnosis.CRASHED,),
    ),
    Scenario(
        "etcd frozen for a while",
        "nobody leads; the primary lives by its own commits",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _etcd_frozen,
        status=(NO_ETCD, ANOTHER_TERM),
    ),
    Scenario(
        "control nodes and etcd slow",
        "nobody notices",
        Then.STAYS,
        NO_INTERRUPTION_MS,
        _control_slow,
    ),
    Scenario(
        "postmaster killed while control nodes and etcd are slow",
        "a standby is promoted, a few round trips later",
        Then.MOVES,
        4_000,
        _control_slow_with_failover,
        diagnosed=(Diagnosis.CRASHED,),
        hurts_the_canary=True,
    ),
    Scenario(
        "name server down during a failover",
        "a standby is promoted in time, the name follows when the server is back",
        Then.MOVES,
        10_000,
        _name_server_down,
        diagnosed=(Diagnosis.CRASHED,),
        multihost_ms_max=4_000,
        status=(NAMES,),
    ),
    Scenario(
        "name server frozen during a failover",
        "a standby is promoted in time, the name follows when the server is back",
        Then.MOVES,
        10_000,
        _name_server_frozen,
        diagnosed=(Diagnosis.CRASHED,),
        multihost_ms_max=4_000,
        status=(NAMES,),
    ),
)
