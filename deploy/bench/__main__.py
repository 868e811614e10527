"""`make bench`: outages by step against the floor of the same run, and no false alarm under CPU load.

Ends non-zero if a run failed, anything was lost, there was a second writer, the epoch changed under load, or
the loss afterwards was not detected in time. An aim that was missed is printed, and no failure: it says as
much of the machine as of Primacy.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from deploy.bench.floor import Floor, measure_floor
from deploy.bench.report import HOST_LOST_AT_MOST_MS, Report, as_json, show
from deploy.bench.rounds import HOST_LOST, Rounds
from deploy.bench.under_load import run_under_load
from deploy.bench.verdict import judge
from deploy.lab.fleet import Cluster, Fleet
from deploy.lab.lab import Lab, LabFailed
from deploy.lab.programs import Programs
from deploy.lab.run_folder import RunId, make_run_folder, remove_folder
from deploy.lab.sweep import dismiss_janitor, start_janitor
from deploy.lab.witnessed import Witnessed

_FLOOR_RUNS_MIN = 3


class Bench:
    def __init__(self, console: Console, programs: Programs, chosen: argparse.Namespace) -> None:
        self._console, self._programs, self._chosen = console, programs, chosen
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        self._console.print(f"{time.monotonic() - self._began:7.1f} s  {text}", markup=False, soft_wrap=True)

    def run(self) -> Report:
        """The floor is measured before the fleet and after it: half the runs each, nothing else beside it."""
        half = max(_FLOOR_RUNS_MIN, math.ceil(self._chosen.rounds / 2))
        before = self._floor(half, "before")
        report = Report(self._chosen.seed, self._setting(), before, [])
        fleet = Fleet(clusters=(Cluster("shop", profile=self._chosen.profile),))
        with Lab(fleet, self._programs, keep=self._chosen.keep) as lab:
            for warning in lab.warnings:
                self.say(f"note: {warning}")
            if self._chosen.keep:
                self.say(f"logs stay in {lab.files.logs}")
                _trace_agents(lab)
            lab.start()
            cluster = Witnessed(lab)
            try:
                self._play(cluster, report)
            finally:
                cluster.close()
        after = self._floor(half, "after")
        report.floor = Floor({kind: (*runs, *after.runs[kind]) for kind, runs in before.runs.items()})
        return report

    def _play(self, cluster: Witnessed, report: Report) -> None:
        chosen = self._chosen
        status = cluster.be_born()
        self.say(f"whole: primary {status['primary']}, rule {status['rule']}, profile {status['profile']}")
        cluster.start_witnesses()
        rounds = Rounds(cluster, self.say, random.Random(chosen.seed))
        report.runs = rounds.runs
        try:
            rounds.play(chosen.rounds)
            if chosen.load_seconds > 0:
                self.say(f"{chosen.load_seconds:.0f} s under CPU load from all cores")
                report.under_load = run_under_load(cluster, chosen.load_seconds, self.say)
                self.say(report.under_load.false_alarm or "no false alarm")
                report.detected_after_load = rounds.one(HOST_LOST, chosen.rounds + 1)
                rounds.runs.remove(report.detected_after_load)
        except LabFailed as failed:
            report.complaints.append(f"the bench could not go on: {failed}")
        cluster.stop_witnesses()
        self._judge(cluster, report)

    def _judge(self, cluster: Witnessed, report: Report) -> None:
        faults = [run.fault_at_us for run in report.runs]
        if report.detected_after_load is not None:
            faults.append(report.detected_after_load.fault_at_us)
        try:
            losses = cluster.losses()
            present = cluster.read_back()
        except LabFailed as failed:
            report.complaints.append(f"what is there could not be read back: {failed}")
            return
        report.acknowledged_count, report.lost = losses.acknowledged_count, losses.lost
        report.second_writes = tuple(f"{wrote.member} row {wrote.n}" for wrote in losses.second_writes)
        journal = cluster.journal()
        report.complaints += judge(journal, present, faults).complaints
        if judge(journal, present - {max(journal.numbers)}).passed:
            report.complaints.append("the checker did not find a loss that was planted")
        report.complaints += [f"second writer: {wrote}" for wrote in report.second_writes]
        report.complaints += [
            f"{run.label}, round {run.number}: {run.failed}" for run in report.runs if run.failed
        ]
        planned = 3 * self._chosen.rounds
        if len(report.runs) < planned:
            report.complaints.append(f"only {len(report.runs)} of {planned} runs took place")
        self._judge_load(report)

    def _judge_load(self, report: Report) -> None:
        if self._chosen.load_seconds <= 0:
            return
        if report.under_load is None or report.detected_after_load is None:
            report.complaints.append("the run under load did not take place, or not to its end")
            return
        if report.under_load.false_alarm:
            report.complaints.append(f"false alarm: {report.under_load.false_alarm}")
        after_ms = report.detected_after_load.detected_after_ms
        if report.detected_after_load.failed:
            report.complaints.append(f"host lost after the load: {report.detected_after_load.failed}")
        if after_ms is None or after_ms > HOST_LOST_AT_MOST_MS:
            report.complaints.append(f"the host lost after the load was detected after {after_ms} ms")

    def _floor(self, runs: int, when: str) -> Floor:
        self.say(f"the floor {when} the fleet: {runs} kills, {runs} clean switchovers on plain PostgreSQL")
        run = RunId.of_this_process()
        folder = make_run_folder(run)
        janitor = start_janitor(run)
        try:
            floor = measure_floor(
                folder, self._programs.postgres_bin, self._programs.postgres_user, runs=runs
            )
        finally:
            remove_folder(folder)
            dismiss_janitor(janitor)
        for line in floor.lines():
            self.say(line)
        return floor

    def _setting(self) -> dict[str, object]:
        return {
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "load_average": round(os.getloadavg()[0], 1),
            "postgres": str(self._programs.postgres_bin),
            "etcd": self._programs.etcd_version,
            "rounds": self._chosen.rounds,
            "load_seconds": self._chosen.load_seconds,
        }


def _trace_agents(lab: Lab) -> None:
    """Every step that an agent takes, with its microseconds, into its log."""
    for host in lab.plan.member_hosts:
        with lab.files.config_file(host, "agent").open("a") as config:
            config.write('\n[log]\nlevel = "debug"\n')


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="of each fault")
    parser.add_argument("--load-seconds", type=float, default=600.0, help="under CPU load; 0 leaves it out")
    parser.add_argument("--profile", default="default", choices=("fast", "default", "patient"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the results go, too")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--keep", action="store_true", help="the logs stay, with every step of the agents")
    chosen = parser.parse_args(words)
    if chosen.rounds < 1:
        parser.error("--rounds must be at least 1")
    return chosen


def main(words: Sequence[str]) -> int:
    chosen = _arguments(words)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    try:
        programs = Programs.discover()
    except LookupError as missing:
        console.print(str(missing), style="red", markup=False)
        return 2
    bench = Bench(console, programs, chosen)
    bench.say(f"seed {chosen.seed}")
    try:
        report = bench.run()
    except LabFailed as failed:
        console.print(f"the bench failed: {failed}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything was taken down")
        return 130
    show(report, console)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(as_json(report), indent=1) + "\n")
    return 1 if report.complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
