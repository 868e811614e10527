"""Holds a condition for a while and writes down what was said, what was heard and what the client saw.

Who listens to the beats and who writes rows is no part of Primacy; its logs are only asked for its suspicions.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from deploy.bench.suspicions import departures_between, suspicions_between
from deploy.detection import beats
from deploy.detection.conditions import Condition, in_force
from deploy.detection.spell import Spell
from deploy.lab.fault import now_us
from deploy.lab.lab import LabFailed
from deploy.lab.witnessed import Status, Witnessed

_LOOK_EVERY_S = 0.2
_SETTLE_S = 1.0
_WHOLE_WITHIN_S = 120.0


class Listeners:
    """One beside each control node, for as long as the lab lives."""

    def __init__(self, cluster: Witnessed) -> None:
        self._cluster = cluster
        self._journals: dict[str, Path] = {}
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        lab = self._cluster.lab
        for host in lab.plan.control_hosts:
            journal = self._journals[host.name] = self._cluster.folder / f"beats-{host.name}.txt"
            journal.touch()
            command = (
                lab.programs.python, "-m", "deploy.detection.listener",
                "--port", str(lab.plan.ports.beat), "--journal", str(journal),
            )  # fmt: skip
            self._processes.append(lab.launch_on(host.name, command))

    def arrivals(self, member: str) -> dict[str, list[int]]:
        """By control node. Raise LabFailed where a listener has ended."""
        if any(process.poll() is not None for process in self._processes):
            raise LabFailed("a listener beside a control node has ended")
        address = self._cluster.lab.plan.host(self._cluster.host_of(member)).address
        found = {}
        for node, journal in self._journals.items():
            with journal.open() as lines:
                found[node] = beats.read_arrivals(lines).get(address, [])
        return found

    def at_first_node(self, member: str) -> list[int]:
        return next(iter(self.arrivals(member).values()))

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


class Watching:
    def __init__(self, cluster: Witnessed, listeners: Listeners, say: Callable[[str], None]) -> None:
        self._cluster, self._listeners, self._say = cluster, listeners, say

    def hold(self, condition: Condition, seconds: float) -> Spell:
        """A failed one says why, and counts."""
        cluster = self._cluster
        status = cluster.asked_whole(_WHOLE_WITHIN_S)
        spell = Spell(str(status["profile"]), condition.name, seconds, str(status["primary"]))
        began_us, began_wall_ms, waited_us = now_us(), _wall_ms(), disk_waits_us()
        with in_force(cluster, condition) as link:
            ends_at = time.monotonic() + seconds
            while time.monotonic() < ends_at:
                link.follow(cluster.primary)
                time.sleep(_LOOK_EVERY_S)
            spell.load_average = round(os.getloadavg()[0], 1)
        ended_us = now_us()
        if waited_us is not None and (now_waited_us := disk_waits_us()) is not None:
            spell.disk_waits_percent = round(100 * (now_waited_us - waited_us) / (ended_us - began_us), 1)
        time.sleep(_SETTLE_S)  # what the last second led to shows now
        try:
            cluster.asked_whole(_WHOLE_WITHIN_S, epoch_at_least=int(status["epoch"]))
            cluster.await_writes(now_us())
        except LabFailed as failed:
            spell.failed = f"not whole afterwards: {failed}"
        # Until it is whole again: what a spell led to is that spell's.
        self._note_departures(spell, began_wall_ms)
        self._note_statuses(spell, [status, *cluster.watch.heard_since(began_us)])
        self._note_suspicions(spell, began_wall_ms)
        self._note_beats(spell, began_us, ended_us)
        self._note_client(spell, began_us)
        self._tell(spell)
        return spell

    def _note_departures(self, spell: Spell, from_wall_ms: int) -> None:
        found = departures_between(self._cluster, from_wall_ms, _wall_ms())
        spell.false_failovers = len(found)
        spell.causes = tuple(
            f"after {(one.at_wall_ms - from_wall_ms) / 1000:.1f} s: {one.why}" for one in found
        )

    def _note_statuses(self, spell: Spell, seen: list[Status]) -> None:
        spell.rules = sum(before["rule"] != after["rule"] for before, after in pairwise(seen))
        leaders = [status["leader"] for status in seen if status["leader"]]
        spell.leaders = sum(before != after for before, after in pairwise(leaders))
        spell.diagnoses = tuple(sorted({str(s["diagnosis"]) for s in seen} - {"Healthy", ""}))

    def _note_suspicions(self, spell: Spell, from_wall_ms: int) -> None:
        found = suspicions_between(self._cluster, from_wall_ms, _wall_ms())
        spell.suspicions = dict(Counter(str(one.outcome) for one in found))
        spell.longest_suspected_ms = max((one.silent_ms for one in found), default=0)

    def _note_beats(self, spell: Spell, from_us: int, to_us: int) -> None:
        """Of the first primary, until another one took its place."""
        for at_us, status in self._cluster.watch.heard_with_times_since(from_us):
            if status["primary"] != spell.primary:
                to_us = min(to_us, at_us)
        arrivals = self._listeners.arrivals(spell.primary)
        spell.beat_period_ms = beats.period_ms(next(iter(arrivals.values())), from_us, to_us)
        spell.silence_at_a_node_ms = beats.at_the_worst_node_ms(arrivals, from_us, to_us)
        spell.silence_everywhere_ms = beats.at_every_node_ms(arrivals, from_us, to_us)

    def _note_client(self, spell: Spell, from_us: int) -> None:
        at = [entry.at_us for entry in self._cluster.journal().acknowledged]
        spell.acknowledged = sum(moment >= from_us for moment in at)
        gaps = [after - before for before, after in pairwise(at) if after >= from_us]
        spell.client_gap_ms = max(gaps, default=now_us() - from_us) / 1000

    def _tell(self, spell: Spell) -> None:
        doubts = ", ".join(f"{count} x {what}" for what, count in spell.suspicions.items()) or "none"
        self._say(
            f"   {spell.condition}, {spell.seconds:.0f} s: {spell.false_failovers} false failovers; suspicions: {doubts}; "
            f"silence {spell.silence_at_a_node_ms:.0f} ms at a node, {spell.silence_everywhere_ms:.0f} ms at all; "
            f"client's longest gap {spell.client_gap_ms:.0f} ms; load {spell.load_average}, disk {spell.disk_waits_percent} %"
            + "".join(f"\n      false failover {cause}" for cause in spell.causes)
            + (f"  FAILED: {spell.failed}" if spell.failed else "")
        )


def disk_waits_us() -> int | None:
    """For how long somebody on this machine has waited for a disk so far."""
    try:
        some = Path("/proc/pressure/io").read_text().splitlines()[0]
    except OSError:
        return None
    return int(some.rpartition("total=")[2])


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
