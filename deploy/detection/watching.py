"""Holds a condition for a while and writes down what was said, what was heard and what the client saw.

Who listens to the beats and who writes rows is no part of Primacy; its logs are only asked for its suspicions.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from deploy.bench.suspicions import suspicions_between
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
        status = cluster.whole(_WHOLE_WITHIN_S)
        spell = Spell(str(status["profile"]), condition.name, seconds, str(status["primary"]))
        epoch = int(status["epoch"])
        time.sleep(_SETTLE_S)
        began_us, began_wall_ms = now_us(), time.time_ns() // 1_000_000
        seen: list[Status] = [status]
        moved_at_us: int | None = None
        with in_force(cluster, condition) as link:
            ends_at = time.monotonic() + seconds
            while time.monotonic() < ends_at:
                newest = cluster.watch.newest
                if newest is not None and newest is not seen[-1]:
                    seen.append(newest)
                    if moved_at_us is None and newest["primary"] != spell.primary:
                        moved_at_us = now_us()
                    link.follow(str(newest["primary"] or ""))
                time.sleep(_LOOK_EVERY_S)
            spell.load_average = round(os.getloadavg()[0], 1)
        ended_us, ended_wall_ms = now_us(), time.time_ns() // 1_000_000
        time.sleep(_SETTLE_S)  # what the last second led to shows now
        try:
            after = cluster.asked_whole(_WHOLE_WITHIN_S, epoch_at_least=epoch)
            spell.false_failovers = int(after["epoch"]) - epoch
            spell.causes = self._causes(epoch) if spell.false_failovers else ()
        except LabFailed as failed:
            spell.failed = f"not whole afterwards: {failed}"
        self._note_statuses(spell, seen)
        self._note_suspicions(spell, began_wall_ms, ended_wall_ms)
        self._note_beats(spell, began_us, ended_us if moved_at_us is None else moved_at_us)
        self._note_client(spell, began_us, ended_us)
        self._tell(spell)
        return spell

    def _note_statuses(self, spell: Spell, seen: list[Status]) -> None:
        spell.rules = sum(before["rule"] != after["rule"] for before, after in pairwise(seen))
        leaders = [status["leader"] for status in seen if status["leader"]]
        spell.leaders = sum(before != after for before, after in pairwise(leaders))
        spell.diagnoses = tuple(sorted({str(s["diagnosis"]) for s in seen} - {"Healthy", ""}))

    def _note_suspicions(self, spell: Spell, from_wall_ms: int, to_wall_ms: int) -> None:
        found = suspicions_between(self._cluster, from_wall_ms, to_wall_ms)
        spell.suspicions = dict(Counter(str(one.outcome) for one in found))
        spell.longest_suspected_ms = max((one.silent_ms for one in found), default=0)

    def _note_beats(self, spell: Spell, from_us: int, to_us: int) -> None:
        arrivals = self._listeners.arrivals(spell.primary)
        spell.beat_period_ms = beats.period_ms(next(iter(arrivals.values())), from_us, to_us)
        spell.silence_at_a_node_ms = beats.at_the_worst_node_ms(arrivals, from_us, to_us)
        spell.silence_everywhere_ms = beats.at_every_node_ms(arrivals, from_us, to_us)

    def _note_client(self, spell: Spell, from_us: int, to_us: int) -> None:
        """A gap that began inside counts to its end, also when that came later."""
        at = [entry.at_us for entry in self._cluster.journal().acknowledged]
        spell.acknowledged = sum(from_us <= moment <= to_us for moment in at)
        gaps = [after - before for before, after in pairwise(at) if after >= from_us and before <= to_us]
        spell.client_gap_ms = max(gaps, default=to_us - from_us) / 1000

    def _causes(self, epoch: int) -> tuple[str, ...]:
        done = self._cluster.lab.primacy("history", self._cluster.cluster, "--limit", "20", "--json")
        if done.returncode != 0:
            return ()
        return tuple(
            str(step["text"])
            for incident in json.loads(done.stdout)
            if incident["epoch"] > epoch
            for step in incident["steps"]
            if step["name"] == "sealing"
        )

    def _tell(self, spell: Spell) -> None:
        doubts = ", ".join(f"{count} x {what}" for what, count in spell.suspicions.items()) or "none"
        self._say(
            f"   {spell.condition}, {spell.seconds:.0f} s: {spell.false_failovers} false failovers; suspicions: {doubts}; "
            f"silence {spell.silence_at_a_node_ms:.0f} ms at a node, {spell.silence_everywhere_ms:.0f} ms at all; "
            f"client's longest gap {spell.client_gap_ms:.0f} ms; load {spell.load_average}"
            + (f"  FAILED: {spell.failed}" if spell.failed else "")
        )
