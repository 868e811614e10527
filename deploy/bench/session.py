"""One fleet of a bench from its birth to the last look at what is there: born with data, rounds, load, losses.

A bench has one fleet for most faults, and one whose members have disks of their own for those of disks.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.bench.circumstances import MEMBERS, Circumstances
from deploy.bench.filling import bytes_of_data, fill
from deploy.bench.kinds import HOST_LOST, HOST_LOST_AT_MOST_MS, Kind
from deploy.bench.report import Report
from deploy.bench.rounds import WHOLE_WITHIN_S, WHOLE_WITHIN_S_A_GIB, Rounds, Run
from deploy.bench.under_load import run_under_load
from deploy.bench.verdict import judge
from deploy.lab.fleet import Cluster, Fleet
from deploy.lab.lab import Lab, LabFailed
from deploy.lab.programs import Programs
from deploy.lab.witnessed import BORN_WITHIN_S, Witnessed

CHUNK_WITHIN_S = 300.0
TELL_EVERY_S = 15.0
# Beside the data: WAL that is kept and not removed yet. Sparse, so what is not used costs nothing.
DISK_BESIDE_THE_DATA_MIB = 6 * 1024
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played on one fleet."""

    circumstances: Circumstances
    kinds: tuple[Kind, ...]
    rounds: int
    load_seconds: float
    keep: bool

    def fleet(self) -> Fleet:
        with_disks = any(kind.needs_disks for kind in self.kinds)
        found = self.circumstances
        members = MEMBERS[: found.members]
        disk_mib = int(found.data_gib * 1024) + 2 * found.behind_mib + DISK_BESIDE_THE_DATA_MIB
        return Fleet(
            clusters=(Cluster("shop", members=members, profile=found.profile),),
            disk_mib=disk_mib if with_disks else None,
            disks_in_memory=False,
        )

    @property
    def whole_within_s(self) -> float:
        return WHOLE_WITHIN_S + WHOLE_WITHIN_S_A_GIB * self.circumstances.data_gib


class Session:
    def __init__(self, plan: Plan, programs: Programs, say: Say, dice: random.Random, report: Report) -> None:
        self._plan, self._programs, self._say, self._dice, self._report = plan, programs, say, dice, report
        self._runs: list[Run] = []
        self._after_load: Run | None = None

    def play(self) -> None:
        """What it found is in the report. LabFailed: the fleet did not come up."""
        with Lab(self._plan.fleet(), self._programs, keep=self._plan.keep) as lab:
            for warning in lab.warnings:
                self._say(f"note: {warning}")
            if self._plan.keep:
                self._say(f"logs stay in {lab.files.logs}")
                _trace_agents(lab)
            cluster = Witnessed(lab)
            try:
                self._be_born(lab, cluster)
                self._play(cluster)
            finally:
                cluster.close()

    def _be_born(self, lab: Lab, cluster: Witnessed) -> None:
        """With data, the first member is filled alone; the others are cloned with it."""
        gib = self._plan.circumstances.data_gib
        if not gib:
            lab.start()
            status = cluster.be_born()
        else:
            lab.start_etcd()
            lab.start_name_server()
            lab.start_control_nodes()
            lab.start_member(lab.plan.member_hosts[0])
            cluster.be_applied()
            alone = cluster.watch.until(lambda s: s["phase"] == "STABLE", BORN_WITHIN_S, "STABLE")
            first = str(alone["primary"])
            _await_answer(cluster, first)
            data = lab.files.data_directory(lab.plan.member_host(cluster.cluster, first))
            fill(lambda text: cluster.sql(first, text, within_s=CHUNK_WITHIN_S), data, gib, self._say)
            self._say("the other members are cloned")
            lab.start_members()
            status = self._await_clones(lab, cluster)
        self._say(f"whole: primary {status['primary']}, rule {status['rule']}, profile {status['profile']}")

    def _await_clones(self, lab: Lab, cluster: Witnessed) -> dict[str, object]:
        ends_at_s = time.monotonic() + self._plan.whole_within_s
        while True:
            left_s = ends_at_s - time.monotonic()
            try:
                cluster.whole(min(TELL_EVERY_S, max(left_s, 0.1)))
                break
            except LabFailed:
                if left_s <= TELL_EVERY_S:
                    raise
            self._say(f"GiB by member: {_gib_by_member(lab, cluster)}")
        self._report.setting["gib_by_member"] = _gib_by_member(lab, cluster)
        return cluster.asked_whole(self._plan.whole_within_s)

    def _play(self, cluster: Witnessed) -> None:
        plan = self._plan
        cluster.start_witnesses()
        rounds = Rounds(
            cluster, self._say, self._dice,
            behind_mib=plan.circumstances.behind_mib, whole_within_s=plan.whole_within_s,
        )  # fmt: skip
        self._runs = rounds.runs
        try:
            rounds.play(plan.kinds, plan.rounds)
            if plan.load_seconds > 0:
                self._say(f"{plan.load_seconds:.0f} s under CPU load from all cores")
                self._report.under_load = run_under_load(cluster, plan.load_seconds, self._say)
                self._say(self._report.under_load.false_alarm or "no false alarm")
                self._after_load = rounds.one(HOST_LOST, plan.rounds + 1)
                rounds.runs.remove(self._after_load)
        except LabFailed as failed:
            self._report.complaints.append(f"the bench could not go on: {failed}")
        cluster.stop_witnesses()
        self._report.runs += self._runs
        self._report.detected_after_load = self._after_load or self._report.detected_after_load
        self._judge(cluster)

    def _judge(self, cluster: Witnessed) -> None:
        plan, report = self._plan, self._report
        faults = [run.fault_at_us for run in self._runs]
        if self._after_load is not None:
            faults.append(self._after_load.fault_at_us)
        report.complaints += complaints_of(plan.kinds, plan.rounds, self._runs)
        if plan.load_seconds > 0:
            report.complaints += complaints_of_load(report)
        try:
            losses = cluster.losses()
            present = cluster.read_back()
        except LabFailed as failed:
            report.complaints.append(f"what is there could not be read back: {failed}")
            return
        report.acknowledged_count += losses.acknowledged_count
        report.lost += losses.lost
        second_writes = tuple(f"{wrote.member} row {wrote.n}" for wrote in losses.second_writes)
        report.second_writes += second_writes
        journal = cluster.journal()
        report.complaints += judge(journal, present, faults).complaints
        if judge(journal, present - {max(journal.numbers)}).passed:
            report.complaints.append("the checker did not find a loss that was planted")
        report.complaints += [f"second writer: {wrote}" for wrote in second_writes]


def _await_answer(cluster: Witnessed, member: str) -> None:
    """The record says STABLE as soon as the data directory is made, before PostgreSQL serves."""
    ends_at_s = time.monotonic() + BORN_WITHIN_S
    while True:
        try:
            if cluster.sql(member, "SELECT pg_is_in_recovery()").strip() == "f":
                return
        except LabFailed:
            if time.monotonic() > ends_at_s:
                raise
        time.sleep(0.2)


def complaints_of(kinds: Sequence[Kind], rounds: int, runs: Sequence[Run]) -> list[str]:
    """Runs that failed, and runs that did not take place. Pure."""
    failed = [f"{run.label}, round {run.number}: {run.failed}" for run in runs if run.failed]
    planned = len(kinds) * rounds
    return failed if len(runs) >= planned else [*failed, f"only {len(runs)} of {planned} runs took place"]


def complaints_of_load(report: Report) -> list[str]:
    """Pure."""
    if report.under_load is None or report.detected_after_load is None:
        return ["the run under load did not take place, or not to its end"]
    found = []
    if report.under_load.false_alarm:
        found.append(f"false alarm: {report.under_load.false_alarm}")
    after = report.detected_after_load
    if after.failed:
        found.append(f"host lost after the load: {after.failed}")
    if after.detected_after_ms is None or after.detected_after_ms > HOST_LOST_AT_MOST_MS:
        found.append(f"the host lost after the load was detected after {after.detected_after_ms} ms")
    return found


def _gib_by_member(lab: Lab, cluster: Witnessed) -> dict[str, float]:
    directories = {
        name: lab.files.data_directory(lab.plan.member_host(cluster.cluster, name))
        for name in cluster.members
    }
    return {name: round(bytes_of_data(folder) / 1024**3, 2) for name, folder in directories.items()}


def _trace_agents(lab: Lab) -> None:
    """Every step that an agent takes, with its microseconds, into its log."""
    for host in lab.plan.member_hosts:
        with lab.files.config_file(host, "agent").open("a") as config:
            config.write('\n[log]\nlevel = "debug"\n')
