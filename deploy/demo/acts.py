"""The three acts: postmaster killed, host lost, switchover; in between the cluster becomes whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.table import Table

from deploy.bench.verdict import judge, outage_around
from deploy.demo.screen import Screen
from deploy.lab.fault import Fault, now_us
from deploy.lab.faults import NO_NETWORK_CUT
from deploy.lab.witnessed import Witnessed

_WHOLE_WITHIN_S = 90.0


@dataclass(frozen=True, slots=True)
class Act:
    label: str
    fault: Fault
    outage_ms: float | None


def run_acts(cluster: Witnessed, screen: Screen) -> bool:
    """Whether nothing was lost, nobody else wrote, and the cluster is whole again."""
    screen.say("primacy cluster apply: the cluster is born (initialise, clone, widen the rule)")
    status = cluster.be_born()
    screen.say(f"whole: primary {status['primary']}, rule {status['rule']}", "bold")
    cluster.start_witnesses()
    screen.say("the reference client writes 100 rows a second; it knows a name and a name server")
    time.sleep(2.0)
    acts = [
        _act(cluster, screen, "postmaster killed", _kill_postmaster),
        _act(cluster, screen, "host lost", _lose_host),
        _act(cluster, screen, "switchover", _switchover),
    ]
    return _verdict(cluster, screen, acts)


def _act(cluster: Witnessed, screen: Screen, label: str, happen: Callable[[Witnessed, Screen], Fault]) -> Act:
    epoch, old = cluster.epoch, cluster.primary
    screen.say(f"── {label}: {old} is the primary", "bold cyan")
    fault = happen(cluster, screen)
    cluster.await_writes(fault.at_us + 50_000)
    cluster.watch.until(lambda s: s["epoch"] > epoch and s["phase"] == "STABLE", 30.0, "STABLE again")
    time.sleep(1.0)
    outage = outage_around(cluster.journal(), fault.at_us)
    outage_ms = None if outage.length_us is None else outage.length_us / 1000
    seen = (
        "no end of the outage" if outage_ms is None else f"{outage_ms:.0f} ms without an acknowledged write"
    )
    screen.say(f"the client saw {seen}; {cluster.primary} is the primary now", "bold")
    if label == "host lost":
        screen.say(f"the lost host of {old} comes back")
        cluster.lab.faults.restart_host(cluster.host_of(old))
        cluster.start_poller(old)
    cluster.whole(_WHOLE_WITHIN_S, epoch_at_least=epoch + 1)
    screen.say("whole again; the incident in Primacy's own words:")
    screen.block(cluster.history(1))
    name = "frozen, no network cut" if fault.label == NO_NETWORK_CUT else label
    return Act(name, fault, outage_ms)


def _kill_postmaster(cluster: Witnessed, screen: Screen) -> Fault:
    return cluster.lab.faults.kill_postmaster(cluster.cluster, cluster.primary)


def _lose_host(cluster: Witnessed, screen: Screen) -> Fault:
    fault = cluster.lab.faults.lose_host(cluster.host_of(cluster.primary))
    if fault.ends_sent is not None:
        screen.say(
            f"the link went down, then everything was killed; FIN and RST that left the host: {fault.ends_sent}"
        )
    return fault


def _switchover(cluster: Witnessed, screen: Screen) -> Fault:
    at_us = now_us()
    done = cluster.lab.primacy("switchover", cluster.cluster)
    screen.block(done.stdout or done.stderr)
    return Fault("switchover", cluster.host_of(cluster.primary), at_us)


def _verdict(cluster: Witnessed, screen: Screen, acts: list[Act]) -> bool:
    cluster.stop_witnesses()
    losses = cluster.losses()
    table = Table(title="What the client saw")
    for column in ("fault", "outage", "acknowledged rows", "lost rows", "second writers"):
        table.add_column(column, justify="left" if column == "fault" else "right")
    for act in acts:
        outage = "never ended" if act.outage_ms is None else f"{act.outage_ms:.0f} ms"
        table.add_row(act.label, outage, "", "", "")
    table.add_section()
    table.add_row(
        "all together",
        "",
        str(losses.acknowledged_count),
        str(len(losses.lost)),
        str(len(losses.second_writes)),
    )
    screen.table(table)
    verdict = judge(cluster.journal(), cluster.read_back(), [act.fault.at_us for act in acts])
    for complaint in verdict.complaints:
        screen.say(f"FAILED: {complaint}", "bold red")
    for wrote in losses.second_writes:
        screen.say(
            f"FAILED: {wrote.member} acknowledged row {wrote.n}, which the primary does not have", "bold red"
        )
    newest = cluster.watch.newest
    whole = newest is not None and bool(newest["whole"])
    if not whole:
        screen.say("FAILED: the cluster is not whole", "bold red")
    good = (
        verdict.passed
        and not losses.second_writes
        and whole
        and all(act.outage_ms is not None for act in acts)
    )
    if good:
        screen.say("nothing lost, one writer, the cluster is whole", "bold green")
    return good
