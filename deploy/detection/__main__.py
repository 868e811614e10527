"""`make bench-detection`: for each profile, how soon a loss is seen, and what is taken for one though nothing is broken.

On the lab of `make bench` (three control nodes, etcd, three members; root is needed): some hosts are lost and some
PostgreSQLs frozen; then nothing is broken, but packets are lost, the machine is busy, or both. The profile is changed by
`primacy cluster apply`. With the defaults it takes less than half an hour.

Ends non-zero if anything was lost, there was a second writer, a run failed, or a profile did not reach the agents. A false
failover is a figure, and no failure: what a profile costs is what is measured here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from common.profile import PROFILES
from deploy.bench.kinds import HOST_LOST, POSTGRES_FROZEN
from deploy.bench.rounds import Rounds, Run
from deploy.detection.conditions import CONDITIONS, Condition
from deploy.detection.spell import Spell
from deploy.detection.switching import switch
from deploy.detection.watching import Listeners, Watching
from deploy.lab.fleet import Cluster, Fleet
from deploy.lab.lab import Lab, LabFailed
from deploy.lab.programs import Programs
from deploy.lab.witnessed import Witnessed

FAULTS = (HOST_LOST, POSTGRES_FROZEN)


@dataclass(slots=True)
class Found:
    """What is kept as evidence."""

    setting: dict[str, Any]
    switched_after_s: dict[str, float] = field(default_factory=dict)
    """By profile."""
    runs: list[Run] = field(default_factory=list)
    spells: list[Spell] = field(default_factory=list)
    acknowledged: int = 0
    lost: tuple[int, ...] = ()
    second_writes: tuple[str, ...] = ()
    complaints: list[str] = field(default_factory=list)
    """Why the bench ends non-zero."""
    took_s: float = 0.0


class Bench:
    def __init__(self, console: Console, programs: Programs, chosen: argparse.Namespace) -> None:
        self._console, self._programs, self._chosen = console, programs, chosen
        self._began = time.monotonic()
        self._found = Found(_setting(programs, chosen))

    def say(self, text: str) -> None:
        self._console.print(f"{time.monotonic() - self._began:7.1f} s  {text}", markup=False, soft_wrap=True)

    def run(self) -> Found:
        fleet = Fleet(clusters=(Cluster("shop", profile=_another(self._chosen.profiles[0])),))
        with Lab(fleet, self._programs, keep=self._chosen.keep) as lab:
            for warning in lab.warnings:
                self.say(f"note: {warning}")
            if not lab.network.cuts_links:
                raise LabFailed("losing packets needs network namespaces (root)")
            if self._chosen.keep:
                self.say(f"logs stay in {lab.files.logs}")
            lab.start()
            cluster = Witnessed(lab)
            listeners = Listeners(cluster)
            try:
                cluster.be_born()
                cluster.start_witnesses()
                listeners.start()
                self._play(cluster, listeners)
            finally:
                listeners.close()
                cluster.close()
        return self._found

    def _play(self, cluster: Witnessed, listeners: Listeners) -> None:
        chosen, found = self._chosen, self._found
        rounds = Rounds(cluster, self.say, random.Random(chosen.seed))
        found.runs = rounds.runs
        watching = Watching(cluster, listeners, self.say)
        try:
            for profile in chosen.profiles:
                cluster.asked_whole(60.0)
                found.switched_after_s[profile] = round(switch(cluster, listeners, profile), 1)
                self.say(
                    f"── {profile}: at its pace {found.switched_after_s[profile]} s after it was applied"
                )
                for number in range(1, chosen.rounds + 1):
                    for kind in FAULTS:
                        rounds.one(kind, number)
                for condition in chosen.conditions:
                    found.spells.append(watching.hold(condition, chosen.minutes * 60))
                    if found.spells[-1].false_failovers:
                        self._keep_logs(cluster, f"{profile}-{len(found.spells)}")
        except LabFailed as failed:
            found.complaints.append(f"the bench could not go on: {failed}")
        cluster.stop_witnesses()
        self._judge(cluster)

    def _keep_logs(self, cluster: Witnessed, name: str) -> None:
        """What led to it is asked for later, when the lab is gone."""
        folder = Path(tempfile.gettempdir()) / f"primacy-detection-{self._chosen.seed}" / name
        shutil.copytree(cluster.lab.files.logs, folder, dirs_exist_ok=True)
        self.say(f"      logs: {folder}")

    def _judge(self, cluster: Witnessed) -> None:
        found = self._found
        found.complaints += [
            f"{run.profile}, {run.label}, round {run.number}: {run.failed}"
            for run in found.runs
            if run.failed
        ]
        found.complaints += [f"{s.profile}, {s.condition}: {s.failed}" for s in found.spells if s.failed]
        try:
            losses = cluster.losses()
        except LabFailed as failed:
            found.complaints.append(f"what is there could not be read back: {failed}")
            return
        found.acknowledged, found.lost = losses.acknowledged_count, losses.lost
        found.second_writes = tuple(f"{wrote.member} row {wrote.n}" for wrote in losses.second_writes)
        if found.lost:
            found.complaints.append(f"{len(found.lost)} acknowledged rows are lost")
        if found.second_writes:
            found.complaints.append(f"{len(found.second_writes)} rows of a second writer")
        found.took_s = round(time.monotonic() - self._began)


def _another(profile: str) -> str:
    """That each profile is changed to is a part of what is measured."""
    return next(name for name in PROFILES if name != profile)


def _setting(programs: Programs, chosen: argparse.Namespace) -> dict[str, Any]:
    return {
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": os.environ.get("PRIMACY_COMMIT", ""),
        "cores": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "kernel": platform.release(),
        "load_average": round(os.getloadavg()[0], 1),
        "postgres": str(programs.postgres_bin),
        "etcd": programs.etcd_version,
        "rounds": chosen.rounds,
        "minutes": chosen.minutes,
        "seed": chosen.seed,
        "born_with": _another(chosen.profiles[0]),
        "beside": chosen.beside,
    }


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-detection ARGS=…", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each fault under each profile")
    parser.add_argument("--minutes", type=float, default=1.0, help="of each condition under each profile")
    parser.add_argument(
        "--profiles", nargs="+", default=list(PROFILES), choices=list(PROFILES), metavar="PROFILE"
    )
    parser.add_argument(
        "--conditions",
        nargs="+",
        type=_condition,
        default=list(CONDITIONS),
        metavar="CONDITION",
        help=f"of these: {', '.join(repr(one.name) for one in CONDITIONS)}".replace("%", "%%"),
    )
    parser.add_argument("--beside", default="", help="what else ran on the machine; for the evidence")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the results go, too")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--keep", action="store_true", help="the logs stay")
    chosen = parser.parse_args(words)
    if chosen.rounds < 0 or chosen.minutes <= 0:
        parser.error("--rounds must be at least 0, --minutes more than 0")
    return chosen


def _condition(name: str) -> Condition:
    for one in CONDITIONS:
        if one.name == name:
            return one
    raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(repr(c.name) for c in CONDITIONS)}")


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
        found = bench.run()
    except LabFailed as failed:
        console.print(f"the bench failed: {failed}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything was taken down")
        return 130
    for complaint in found.complaints:
        console.print(f"FAILED: {complaint}", style="red", markup=False)
    bench.say(f"{found.acknowledged} acknowledged rows, {len(found.lost)} lost")
    if chosen.json is not None:
        # `make` runs a copy of the code; a file that is named there is meant in the clone.
        file = Path(os.environ.get("PRIMACY_SOURCE", "")) / chosen.json
        file.write_text(json.dumps(asdict(found), indent=1) + "\n")
    return 1 if found.complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
