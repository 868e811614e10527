"""One fault in the middle of another, and planned moves."""

from __future__ import annotations

from deploy.lab.fault import Fault, now_us
from deploy.lab.lab import LabFailed
from orchestrator.core.diagnose import Diagnosis
from tests.chaos.scenario import Scenario, Then
from tests.chaos.scene import Scene


def _candidate_killed(scene: Scene, after_ms: tuple[float, float]) -> None:
    """All else alike, the standby whose name comes first is the candidate."""
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    scene.hold(scene.dice.uniform(*after_ms) / 1000)
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.standbys[0]))
    scene.await_failover(60.0)


def _candidate_killed_while_sealing(scene: Scene) -> None:
    """By the steps of `make bench` the postmaster's death is noticed after some 30 ms, and sealing takes 25 to 40."""
    _candidate_killed(scene, (0, 80))


def _candidate_killed_while_promoted(scene: Scene) -> None:
    """From 55 to 75 ms on, for some 90 ms until its first commit was acknowledged; then it is the new primary."""
    _candidate_killed(scene, (50, 200))


def _candidates_host_lost(scene: Scene) -> None:
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    scene.hold(scene.dice.uniform(0, 300) / 1000)
    scene.did(scene.faults.lose_host(scene.standby_hosts[0]))
    scene.await_failover(60.0)


def _candidates_host_lost_while_promoted(scene: Scene) -> None:
    """The last member takes over alone: the primary's agent is there, but its PostgreSQL is down and not sealed."""
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    status = scene.until(
        lambda s: s["phase"] == "PROMOTING" or s["epoch"] > scene.epoch + 1, "promoting somebody"
    )
    chosen = [line["member"] for line in status["reasons"] if line["reason"] == "candidate_chosen"]
    scene.did(scene.faults.lose_host(scene.host(chosen[0] if chosen else scene.standbys[0])))
    scene.await_failover(60.0)


def _killed_just_after(scene: Scene) -> None:
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    status = scene.until(
        lambda s: s["epoch"] > scene.epoch and s["phase"] == "STABLE", "STABLE in another epoch"
    )
    scene.did(scene.faults.kill_postmaster(scene.shop, status["primary"]))
    scene.await_failover(60.0, after_epoch=int(status["epoch"]))


def _second_after_5_s(scene: Scene) -> None:
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    status = scene.await_failover()
    scene.hold(5.0)
    scene.did(scene.faults.lose_host(scene.host(status["primary"])))
    scene.await_failover(60.0, after_epoch=int(status["epoch"]))


def _during_rule_change(scene: Scene) -> None:
    lost = scene.standby_hosts[0]
    scene.did(scene.faults.lose_host(lost))
    scene.until(lambda s: "->" in s["rule"] or s["rule"] != s["wanted_rule"], "in a rule change")
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.primary))
    scene.hold(3.0)
    scene.restart(lost)
    scene.await_failover(60.0)


def _switchover(scene: Scene) -> None:
    scene.did(Fault("switchover", scene.primary_host, now_us()))
    done = scene.lab.primacy("switchover", scene.shop)
    if done.returncode != 0:
        raise LabFailed(f"primacy switchover: {(done.stdout + done.stderr).strip()}")
    scene.await_failover()


def _switchover_and_kill(scene: Scene) -> None:
    scene.did(Fault("switchover", scene.primary_host, now_us()))
    asking = scene.lab.launch_on(
        "client", (*scene.lab.programs.cli, "switchover", scene.shop, "--to", scene.standbys[0])
    )
    scene.until(lambda s: s["epoch"] > scene.epoch, "begun")
    scene.did(scene.faults.kill_postmaster(scene.shop, scene.standbys[0]))
    asking.wait(60.0)
    scene.await_failover(60.0)


SCENARIOS = (
    Scenario(
        "switchover",
        "a clean move",
        Then.MOVES,
        1_500,
        _switchover,
        history=("operator:lab asked for a switchover",),
    ),
    Scenario(
        "candidate killed in a switchover",
        "another one is promoted, or the old primary goes on in a later epoch",
        Then.MOVES,
        10_000,
        _switchover_and_kill,
        also_diagnosed=(Diagnosis.CRASHED,),
        history=("asked for a switchover",),
    ),
    Scenario(
        "candidate killed while sealing",
        "another one is promoted, or that one once it runs again",
        Then.MOVES,
        10_000,
        _candidate_killed_while_sealing,
        diagnosed=(Diagnosis.CRASHED,),
    ),
    Scenario(
        "candidate killed while being promoted",
        "another one is promoted, in another epoch if need be",
        Then.MOVES,
        10_000,
        _candidate_killed_while_promoted,
        diagnosed=(Diagnosis.CRASHED,),
    ),
    Scenario(
        "candidate's host lost in the failover",
        "another one is promoted, in another epoch if need be",
        Then.MOVES,
        15_000,
        _candidates_host_lost,
        diagnosed=(Diagnosis.CRASHED,),
        also_diagnosed=(Diagnosis.HOST_LOST,),  # it may be the primary already
    ),
    Scenario(
        "candidate's host lost while it is promoted",
        "another one is promoted in another epoch, if need be alone",
        Then.MOVES,
        15_000,
        _candidates_host_lost_while_promoted,
        diagnosed=(Diagnosis.CRASHED,),
        also_diagnosed=(Diagnosis.HOST_LOST,),  # it may be the primary already
    ),
    Scenario(
        "new primary killed just after its promotion",
        "a second failover follows",
        Then.MOVES,
        12_000,
        _killed_just_after,
        diagnosed=(Diagnosis.CRASHED,),
    ),
    Scenario(
        "second failover 5 s after the first",
        "the first does not block the second",
        Then.MOVES,
        4_000,
        _second_after_5_s,
        diagnosed=(
            Diagnosis.CRASHED,
            Diagnosis.HOST_LOST,
        ),
        history=("PrimaryCrashed", "PrimaryHostLost"),
    ),
    Scenario(
        "failover during a rule change",
        "whoever is promoted has everything that any of both rules counted",
        Then.MOVES,
        8_000,
        _during_rule_change,
        diagnosed=(Diagnosis.CRASHED,),
    ),
)
