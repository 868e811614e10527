"""Plays faults on a fleet, one after the other, each from a whole cluster, and hears the witnesses after each.

One fleet is used again and again while it becomes whole; one that does not is taken down and another one is built.
What was wrong is kept as evidence: the logs, the journals, the record, the history.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.lab.fault import now_us
from deploy.lab.fleet import Cluster, Fleet, Site
from deploy.lab.lab import Lab, LabFailed
from deploy.lab.programs import Programs
from deploy.lab.running import what_runs
from deploy.lab.witnessed import Witnessed
from deploy.lab.witnesses import THROUGH_DNS, Witnesses
from tests.chaos.canary import Seen, bounds_of_all_ms, newest_said
from tests.chaos.judging import Observed, Row, judged
from tests.chaos.scenario import Scenario
from tests.chaos.scene import Scene
from tests.chaos.table import verdict

FLEET = Fleet(
    clusters=(Cluster("shop", canary=True),),
    sites=(
        Site("east", ("control1", "shop-a")),
        Site("west", ("control2", "shop-b")),
        Site("north", ("control3", "shop-c")),
    ),
    # PostgreSQL keeps 1 GB of WAL (wal_keep_size), and each timeline begins a segment of its own.
    disk_mib=2_048,
)
SETTLE_S = 1.0
# Longer than any beat, so that the fault falls at any phase of it.
PHASES_S = 1.2
AFTERWARDS_S = 1.0
WHOLE_WITHIN_S = 120.0
_ACTIVITY_WITHIN_S = 3.0
_ACTIVITY = (
    "select pid, backend_type, application_name, state, wait_event_type, wait_event, now() - query_start,"
    " left(query, 80) from pg_stat_activity"
)
Say = Callable[[str], None]


class Chaos:
    def __init__(
        self, say: Say, seed: int, evidence: Path, *, timed: bool = True, description: Fleet = FLEET
    ) -> None:
        self._say = say
        self._seed = seed
        self._evidence = evidence
        self._timed = timed
        self._description = description
        self.rows: list[Row] = []

    def play(self, scenarios: Sequence[Scenario]) -> None:
        waiting = list(scenarios)
        while waiting:
            self._say("building a fleet")
            with fleet(self._say, self._description) as (cluster, witnesses):
                self._on_one_fleet(waiting, cluster, witnesses)
                self._last_look(witnesses)

    def _on_one_fleet(self, waiting: list[Scenario], cluster: Witnessed, witnesses: Witnesses) -> None:
        """Takes away what was played. Ends early where the next fault would not begin from a whole cluster."""
        is_new = True
        while waiting:
            try:
                cluster.asked_whole(WHOLE_WITHIN_S)
                witnesses.begin()
            except LabFailed as failed:
                if is_new:
                    raise
                self._say(f"   no other fault can begin here: {failed}")
                after = f"after it, the next fault could not begin: {failed}"
                row = replace(self.rows[-1], complaints=(*self.rows[-1].complaints, after))
                self.rows[-1] = self._keep(row, cluster)
                return
            row = self.one(waiting.pop(0), cluster, witnesses)
            if row.whole_after_s is None or row.lost_count or row.second_writer_count:
                return
            is_new = False

    def one(self, scenario: Scenario, cluster: Witnessed, witnesses: Witnesses) -> Row:
        """On a whole cluster whose witnesses have begun. Its dice depend on the seed and its name alone, so that
        one fault can be played again."""
        began_s = time.monotonic()
        self._say(f"── {scenario.name}: {scenario.must}")
        played_count = sum(row.name == scenario.name for row in self.rows)
        dice = random.Random(f"{self._seed} {scenario.name} {played_count}")
        seen = observed(scenario, cluster, witnesses, dice)
        row = judged(scenario, seen, time.monotonic() - began_s, timed=self._timed)
        row = replace(row, load_average=round(os.getloadavg()[0], 1))
        if not row.passed:
            row = self._keep(row, cluster)
        self.rows.append(row)
        self._say(line_of(row))
        return row

    def _last_look(self, witnesses: Witnesses) -> None:
        """A row may also be lost later, by another fault than the one under which it was written."""
        try:
            lost = witnesses.lost_in_all_rounds()
        except LabFailed as failed:
            self._say(f"the tables could not be read back at the end: {failed}")
            return
        if lost:
            self.rows[-1] = replace(
                self.rows[-1],
                complaints=(*self.rows[-1].complaints, f"lost after their own round: {lost[:10]}"),
            )
        self._say(f"all rows of all faults were read back: {len(lost)} are missing")

    def _keep(self, row: Row, cluster: Witnessed) -> Row:
        return keep(row, cluster, self._evidence, len(self.rows), f"seed {self._seed}")


def keep(row: Row, cluster: Witnessed, evidence: Path, number: int, played: str) -> Row:
    """The logs, the journals and what was said, in a folder of its own. `played`: how it can be played again."""
    name = "".join(letter if letter.isalnum() else "-" for letter in row.name)[:100]
    folder = evidence / f"{number:02d}-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = cluster.lab.files
    shutil.copytree(files.logs, folder / "logs")
    for host in cluster.lab.plan.member_hosts:
        log = files.host_folder(host) / "state" / "postgresql.log"
        if log.exists():
            shutil.copyfile(log, folder / "logs" / f"{host.name}-postgresql.log")
    shutil.copytree(cluster.folder, folder / "witnesses", ignore=shutil.ignore_patterns("password"))
    (folder / "history.txt").write_text(row.observed.history_text)
    (folder / "status.txt").write_text(row.observed.status_text)
    if row.observed.running_text:
        (folder / "running.txt").write_text(row.observed.running_text)
    (folder / "complaints.txt").write_text("\n".join([played, *row.complaints, *row.late, ""]))
    return replace(row, evidence=str(folder))


@contextmanager
def fleet(say: Say, description: Fleet) -> Iterator[tuple[Witnessed, Witnesses]]:
    """Born, with its witnesses' tables."""
    with Lab(description, Programs.discover()) as lab:
        for warning in lab.warnings:
            say(f"note: {warning}")
        lab.start()
        cluster = Witnessed(lab)
        try:
            cluster.be_born()
            witnesses = Witnesses(cluster)
            try:
                witnesses.make_tables()
                yield cluster, witnesses
            finally:
                witnesses.close()
        finally:
            cluster.close()


def observed(scenario: Scenario, cluster: Witnessed, witnesses: Witnesses, dice: random.Random) -> Observed:
    # Asked for: the newest that was pushed may be of a leader that is gone (soak 118558, round 365).
    scene = Scene(cluster, witnesses, dice, status=cluster.asked_whole(WHOLE_WITHIN_S))
    wall_ms = time.time_ns() // 1_000_000
    failed, hearing, whole_after_s, status, running = "", None, None, None, ""
    scene.hold(SETTLE_S + dice.uniform(0, PHASES_S))
    try:
        scenario.happen(scene)
    except (LabFailed, ProcessLookupError, TimeoutError) as error:
        failed = str(error)
    mended_at_s = time.monotonic()
    cluster.lab.faults.mend_all()
    scene.sit_again()
    try:
        status = cluster.asked_whole(scenario.whole_within_s, epoch_at_least=scene.epoch)
        witnesses.await_writes(now_us(), scenario.whole_within_s)
        whole_after_s = time.monotonic() - mended_at_s
        scene.hold(AFTERWARDS_S)
    except LabFailed as error:
        failed = failed or str(error)
        running = _what_runs(cluster)
    witnesses.end()
    try:
        hearing = witnesses.hearing(scene.fault_at_us or scene.began_us, scene.frozen_us)
    except LabFailed as error:
        failed = failed or f"the witnesses could not be heard: {error}"
    try:
        incidents, history_text = _history_since(cluster, scene.epoch, wall_ms)
    except LabFailed as error:
        failed = failed or str(error)
        incidents, history_text = [], ""
    return Observed(
        epoch_before=scene.epoch,
        epoch_after=cluster.epoch if status is None else int(status["epoch"]),
        primary_before=scene.primary,
        primary_after=cluster.primary if status is None else str(status["primary"]),
        hearing=hearing,
        whole_after_s=whole_after_s,
        history_text=history_text,
        status_text="\n".join([_statuses_since(cluster, scene.began_us), *scene.answers]),
        failed=failed,
        notes=tuple(scene.notes),
        canary=newest_said(incidents, scene.epoch),
        witness=_witness(witnesses, scene.fault_at_us or scene.began_us),
        led_throughout=status is not None and int(status["term"]) == scene.term,
        running_text=running,
    )


def _what_runs(cluster: Witnessed) -> str:
    lines = []
    for member in cluster.members:
        host = cluster.host_of(member)
        lines += [f"{host}:", what_runs(cluster.lab.faults.pids_of(host))]
        try:
            lines += [cluster.sql(member, _ACTIVITY, within_s=_ACTIVITY_WITHIN_S)]
        except LabFailed as failed:
            lines += [str(failed)]
    return "\n".join(lines)


def _witness(witnesses: Witnesses, fault_at_us: int) -> Seen | None:
    try:
        return bounds_of_all_ms([witnesses.journal(writer) for writer in THROUGH_DNS], fault_at_us)
    except ValueError:
        return None


def _history_since(cluster: Witnessed, epoch: int, wall_ms: int) -> tuple[list[dict[str, Any]], str]:
    """The incidents of later epochs, and what was added to that of the epoch before; as they are and in words."""
    done = cluster.lab.primacy("history", cluster.cluster, "--limit", "20", "--json")
    if done.returncode != 0:
        raise LabFailed(f"primacy history failed: {done.stderr.strip()}")
    lines = []
    incidents: list[dict[str, Any]] = json.loads(done.stdout)
    for incident in incidents:
        if incident["epoch"] < epoch:
            continue
        if incident["epoch"] > epoch:
            lines.append(f"epoch {incident['epoch']} {incident['outcome']}: {incident['cause']}")
        for step in incident["steps"]:
            if step["wall_ms"] >= wall_ms:
                lines.append(f"{step['wall_ms'] - wall_ms:+} ms {step['name']}: {step['text']}")
        for refused in incident["refused"] if incident["epoch"] > epoch else ():
            lines.append(f"not chosen {refused['member']}: {refused['reason']}: {refused['text']}")
    return incidents, "\n".join(lines)


def _statuses_since(cluster: Witnessed, at_us: int) -> str:
    """What was said, each thing once, in order."""
    said: dict[str, None] = {}
    for status in cluster.watch.heard_since(at_us):
        said[f"{status['phase']} {status['diagnosis']}"] = None
        said[
            f"  led by {status['leader'] or 'nobody'} in term {status['term']}, the rule is {status['rule']}"
        ] = None
        for member in status["members"]:
            said[f"  member {member['name']} is {member['role']}, {member['state']}"] = None
            for text in filter(None, (member["activity"], member["error"])):
                said[f"  member {member['name']}: {text}"] = None
        if status["names"] is not None and status["names"]["text"]:
            said[f"  names: {status['names']['text']}"] = None
        for reason in status["reasons"]:
            said[f"  {reason['reason']} {reason['member']} {reason['text']}"] = None
    return "\n".join(said)


def line_of(row: Row) -> str:
    def ms(value: float | None) -> str:
        return "no end" if value is None else f"{value:.0f} ms"

    said = ": ".join(filter(None, (verdict(row), "; ".join((*row.complaints, *row.late)))))
    where = f"  (evidence: {row.evidence})" if row.evidence else ""
    outages = f"DNS {ms(row.outage_dns_ms)}, multi-host {ms(row.outage_multihost_ms)}"
    if row.observed.canary is not None:
        outages += f", canary {row.observed.canary}"
    return f"   {outages}; {row.took_s:.0f} s, load {row.load_average}; {said}{where}"
