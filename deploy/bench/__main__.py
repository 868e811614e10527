"""`make bench`: outages by fault against the floor of the same run, and no false alarm under CPU load.

Without arguments: every fault on three members, 20 rounds, then ten minutes under load. Each option that changes the
circumstances (members, data, a standby far behind, PostgreSQL, profile) makes another run, whose floor is measured
under the same circumstances; docs/performance.md shows the newest run of each.

Ends non-zero if a run failed, anything was lost, there was a second writer, the primary was not left alone where it
must be, the epoch changed under load, or the loss afterwards was not detected in time. An aim that was missed is
printed, and no failure: it says as much of the machine as of Primacy.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psycopg
from rich.console import Console

from deploy.bench.circumstances import MEMBERS, Circumstances
from deploy.bench.floor import Floor, measure_floor
from deploy.bench.kinds import KINDS, Kind, chosen
from deploy.bench.report import Report, as_json, show
from deploy.bench.session import Plan, Session
from deploy.lab.lab import LabFailed
from deploy.lab.namespaces import can_have_namespaces
from deploy.lab.programs import Programs
from deploy.lab.run_folder import RunId, base_folder, make_run_folder, remove_folder
from deploy.lab.sweep import dismiss_janitor, start_janitor
from deploy.setup.account import unprivileged_account
from deploy.setup.binaries import LOWEST_MINOR, postgresql_version
from deploy.setup.majors import every_major

_FLOOR_RUNS_MIN = 3
_SYSTEM = "system"
_NEWEST = "newest"
_BEHIND_MIB = 512


class Bench:
    def __init__(
        self,
        console: Console,
        programs: Programs,
        version: str,
        kinds: tuple[Kind, ...],
        asked: argparse.Namespace,
    ) -> None:
        self._console, self._programs, self._kinds, self._asked = console, programs, kinds, asked
        self._version = version
        self._circumstances = Circumstances(
            members=asked.members,
            data_gib=asked.data_gib,
            behind_mib=asked.behind or 0,
            major=int(version.split(".", maxsplit=1)[0]),
            profile=asked.profile,
        )
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        self._console.print(f"{time.monotonic() - self._began:7.1f} s  {text}", markup=False, soft_wrap=True)

    def run(self) -> Report:
        """The floor is measured before the fleets and after them: half the runs each, nothing else beside it."""
        self.say(f"{self._circumstances.title}; seed {self._asked.seed}")
        self.say(f"faults: {', '.join(kind.name for kind in self._kinds)}")
        half = max(_FLOOR_RUNS_MIN, math.ceil(self._asked.rounds / 2))
        setting = self._setting()
        before = self._floor(half, "before")
        report = Report(self._asked.seed, setting, before, [], kinds=self._kinds)
        dice = random.Random(self._asked.seed)
        for number, plan in enumerate(self._plans(), start=1):
            self.say(f"fleet {number}: {', '.join(kind.name for kind in plan.kinds)}")
            try:
                Session(plan, self._programs, self.say, dice, report).play()
            except (LabFailed, RuntimeError) as failed:
                self.say(f"this fleet failed: {failed}")
                report.complaints.append(f"a fleet failed: {failed}")
        try:
            after = self._floor(half, "after")
        except (RuntimeError, TimeoutError, psycopg.Error) as failed:  # the hours before it are not lost
            report.complaints.append(f"the floor after the fleets was not measured: {failed}")
        else:
            report.floor = Floor({kind: (*runs, *after.runs[kind]) for kind, runs in before.runs.items()})
        return report

    def _plans(self) -> list[Plan]:
        """One fleet for most, one with disks of their own for the faults of disks. The load is on the first."""
        groups = [tuple(kind for kind in self._kinds if kind.needs_disks is disks) for disks in (False, True)]
        load = [self._asked.load_seconds, 0.0] if groups[0] else [0.0, self._asked.load_seconds]
        return [
            Plan(self._circumstances, group, self._asked.rounds, seconds, self._asked.keep)
            for group, seconds in zip(groups, load, strict=True)
            if group
        ]

    def _floor(self, runs: int, when: str) -> Floor:
        self.say(f"the floor {when} the fleet: {runs} kills, {runs} clean switchovers on plain PostgreSQL")
        run = RunId.of_this_process()
        folder = make_run_folder(run)
        janitor = start_janitor(run)
        try:
            floor = measure_floor(
                folder,
                self._programs.postgres_bin,
                self._programs.postgres_user,
                runs=runs,
                members=self._circumstances.members,
                data_gib=self._circumstances.data_gib,
                behind_mib=self._circumstances.behind_mib,
                say=self.say,
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
            "commit": os.environ.get("PRIMACY_COMMIT", "unknown"),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "load_average": round(os.getloadavg()[0], 1),
            "postgres": self._version,
            "etcd": self._programs.etcd_version,
            "members": self._circumstances.members,
            "data_gib": self._circumstances.data_gib,
            "behind_mib": self._circumstances.behind_mib,
            "profile": self._circumstances.profile,
            "rounds": self._asked.rounds,
            "load_seconds": self._asked.load_seconds,
        }


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=…", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20, help="of each fault")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="FAULT",
        help=f"may be given several times, also a word of its name: {', '.join(kind.name for kind in KINDS)}",
    )
    parser.add_argument("--load-seconds", type=float, default=600.0, help="under CPU load; 0 leaves it out")
    parser.add_argument("--profile", default="default", choices=("fast", "default", "patient"))
    parser.add_argument("--members", type=int, default=3, choices=range(2, len(MEMBERS) + 1))
    parser.add_argument(
        "--data-gib",
        type=float,
        default=0.0,
        metavar="GIB",
        help="of data in each member before the first fault; the standbys are cloned with it",
    )
    parser.add_argument(
        "--behind",
        type=int,
        nargs="?",
        const=_BEHIND_MIB,
        default=0,
        metavar="MIB",
        help="one standby has so much WAL to replay when a fault comes"
        f" (without a number {_BEHIND_MIB}); only faults that move the primary",
    )
    parser.add_argument(
        "--postgres",
        default=_SYSTEM,
        choices=(_SYSTEM, _NEWEST, *map(str, sorted(LOWEST_MINOR))),
        help="a major, or the newest to be had here (as in make test-majors)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the results go, too")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--keep", action="store_true", help="the logs stay, with every step of the agents")
    asked = parser.parse_args(words)
    if asked.rounds < 1:
        parser.error("--rounds must be at least 1")
    if asked.data_gib < 0 or asked.behind < 0:
        parser.error("--data-gib and --behind can't be negative")
    return asked


def _kinds(asked: argparse.Namespace, console: Console) -> tuple[Kind, ...]:
    """LookupError: nothing is left. What this machine can't do is said."""
    wanted = chosen(asked.only)
    if asked.behind:
        wanted = tuple(kind for kind in wanted if kind.moves)
    can_cut, can_mount = can_have_namespaces() is None, os.geteuid() == 0
    able = tuple(k for k in wanted if (can_cut or not k.needs_cuts) and (can_mount or not k.needs_disks))
    for kind in wanted:
        if kind not in able:
            console.print(f"left out, as it needs root here: {kind.name}", markup=False)
    if not able:
        raise LookupError("no fault is left to be measured")
    return able


def _programs(asked: argparse.Namespace) -> tuple[Programs, str]:
    """With the PostgreSQL that was asked for, and its version. LookupError: it is not to be had."""
    programs = Programs.discover()
    if asked.postgres == _SYSTEM:
        version = postgresql_version(unprivileged_account(), programs.postgres_bin)
        return programs, version or "unknown"
    majors = every_major()
    major = max(majors, default=0) if asked.postgres == _NEWEST else int(asked.postgres)
    if major not in majors:
        raise LookupError(f"no PostgreSQL {major} is to be had here")
    return replace(programs, postgres_bin=majors[major].path), majors[major].version


def _room(asked: argparse.Namespace) -> None:
    """LookupError: the disk is too small for what was asked for."""
    found = Circumstances(members=asked.members, data_gib=asked.data_gib, behind_mib=asked.behind)
    free_gib = shutil.disk_usage(base_folder()).free / 1024**3
    if found.disk_gib > free_gib:
        raise LookupError(f"{found.disk_gib:.0f} GiB are needed in {base_folder()}, {free_gib:.0f} are free")


def main(words: Sequence[str]) -> int:
    asked = _arguments(words)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    try:
        kinds = _kinds(asked, console)
        _room(asked)
        programs, version = _programs(asked)
    except LookupError as missing:
        console.print(str(missing.args[0]), style="red", markup=False)
        return 2
    bench = Bench(console, programs, version, kinds, asked)
    try:
        report = bench.run()
    except LabFailed as failed:
        console.print(f"the bench failed: {failed}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything was taken down")
        return 130
    show(report, console)
    if asked.json is not None:
        asked.json.write_text(json.dumps(as_json(report), indent=1) + "\n")
    return 1 if report.complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
