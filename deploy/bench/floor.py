"""The floor of a failover on this machine, now: the same steps on plain PostgreSQL, without any daemon.

    kill         kill -> standbys sealed, end of WAL scanned -> promoted -> first commit through a quorum
    switchover   clean stop -> the same

No detection, no control plane, no DNS. Every figure of Primacy is quoted with its ratio to this, measured in
the same run, under its circumstances: as many members, as much data, as much that one standby has not replayed (another
one is promoted, and this one may be the only voter), the same PostgreSQL. `python -m deploy.bench.floor
[RUNS]` prints it alone.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deploy.bench.falling_behind import TABLE, WRITTEN_WITHIN_S
from deploy.bench.filling import create, fill, insert
from deploy.bench.plain import FENCE, PlainServer, wait_for
from deploy.lab.programs import Programs, User
from deploy.lab.run_folder import RunId, make_run_folder, remove_folder
from deploy.lab.sweep import dismiss_janitor, start_janitor

Say = Callable[[str], None]
STEPS = ("stop", "seal", "promote", "quorum", "total")


@dataclass(frozen=True, slots=True)
class Floor:
    """Milliseconds of every run, by kind (`kill`, `switchover`) and step."""

    runs: Mapping[str, Sequence[Mapping[str, float]]]

    def median_ms(self, kind: str, step: str = "total") -> float:
        return statistics.median(run[step] for run in self.runs[kind])

    def lines(self) -> list[str]:
        out = []
        for kind, runs in self.runs.items():
            steps = ", ".join(f"{step} {self.median_ms(kind, step):.0f}" for step in STEPS if step in runs[0])
            most = max(run["total"] for run in runs)
            out.append(f"floor {kind}: {steps} ms (median of {len(runs)}), total at most {most:.0f} ms")
        return out


class FloorBench:
    """A primary and its standbys in a folder of the run; `measure` leaves as many again."""

    def __init__(
        self, folder: Path, bin_directory: Path, user: User, *, members: int = 3, behind_mib: int = 0
    ) -> None:
        self._behind_mib = behind_mib
        names = [f"s{number}" for number in range(1, members + 1)]
        self._servers = PlainServer.in_folder(folder, names, bin_directory, user)
        self._has_data = False

    def set_up(self, data_gib: float = 0.0, say: Say = print) -> None:
        primary, *standbys = self._servers
        primary.initialise()
        primary.lead(*standbys)
        primary.start()
        primary.query("SET synchronous_commit = local")
        primary.query("CREATE TABLE floor (n serial PRIMARY KEY)")
        if data_gib:
            self._has_data = True
            fill(primary.query, primary.data, data_gib, say)
        for standby in standbys:
            self._attach_clone(primary, standby)
        self._wait_streaming(primary, len(standbys))

    def measure(self, kind: str) -> dict[str, float]:
        primary, *standbys = self._servers
        held_pid = self._fall_behind(primary, standbys[-1]) if self._behind_mib else 0
        os.sync()  # as before each fault
        primary.query("SET synchronous_commit = on")
        for _ in range(20):
            primary.query("INSERT INTO floor DEFAULT VALUES")
        for standby in standbys:  # the connections that an agent keeps warm
            standby.query("SELECT 1")
        taken: dict[str, float] = {}
        began_at_s = time.monotonic()
        if kind == "switchover":
            primary.query("CHECKPOINT")  # happens before the writing stops, as in a real switchover
            began_at_s = time.monotonic()
            _go_on(held_pid)
            primary.stop(signal.SIGINT)
        else:
            os.kill(primary.postmaster(), signal.SIGKILL)
            _go_on(held_pid)
        taken["stop"] = _ms_since(began_at_s)
        with ThreadPoolExecutor(len(standbys)) as pool:
            step_at_s = time.monotonic()
            # One that is far behind is no candidate, so where its log ends need not be known.
            scanned = [not held_pid or server is not standbys[-1] for server in standbys]
            ends = list(pool.map(lambda server, scan: server.seal(scan=scan), standbys, scanned))
            taken["seal"] = _ms_since(step_at_s)
        order = sorted(zip(ends, standbys, strict=True), key=lambda pair: _lsn(pair[0]), reverse=True)
        candidate, *others = (server for _, server in order)
        step_at_s = time.monotonic()
        timeline = candidate.promote()
        taken["promote"] = _ms_since(step_at_s)
        step_at_s = time.monotonic()
        for other in others:
            candidate.query(f"SELECT pg_create_physical_replication_slot('{other.name}')")
            other.take_history(candidate, timeline)
            other.follow(candidate)
            other.reload()
        candidate.lead(*others)
        candidate.reload()
        wait_for(lambda: candidate.query("SHOW synchronous_standby_names") != FENCE, every_s=0.0005)
        candidate.query("SET synchronous_commit = on")
        candidate.query("INSERT INTO floor DEFAULT VALUES")
        taken["quorum"] = _ms_since(step_at_s)
        taken["total"] = _ms_since(began_at_s)
        assert timeline > 1
        self._make_whole(primary, candidate, others)
        return taken

    def close(self) -> None:
        for server in self._servers:
            if server.data.exists():
                server.stop(signal.SIGQUIT)

    def _fall_behind(self, primary: PlainServer, standby: PlainServer) -> int:
        """As in `falling_behind`: it receives what it does not replay. Answers the process that stands still."""
        primary.query(f"DROP TABLE IF EXISTS {TABLE}")
        primary.query(create(TABLE))
        pid = standby.startup_process()
        os.kill(pid, signal.SIGSTOP)
        primary.query(insert(TABLE, self._behind_mib))
        written = primary.query("SELECT pg_current_wal_flush_lsn()")
        received = f"SELECT pg_last_wal_receive_lsn() >= '{written}'::pg_lsn"
        wait_for(lambda: standby.query(received) is True, within_s=WRITTEN_WITHIN_S)
        return pid

    def _make_whole(self, old: PlainServer, candidate: PlainServer, others: list[PlainServer]) -> None:
        old.stop(signal.SIGKILL)
        if self._has_data:  # a clone would take minutes
            candidate.query("CHECKPOINT")  # pg_rewind looks on the timeline of the last one, on 15
            old.rewind_to(candidate)
            self._attach(candidate, old)
        else:
            self._attach_clone(candidate, old)
        candidate.lead(*others, old)
        candidate.reload()
        self._servers = [candidate, *others, old]
        self._wait_streaming(candidate, len(others) + 1)

    def _attach_clone(self, primary: PlainServer, standby: PlainServer) -> None:
        standby.disconnect()
        standby.clone_from(primary)
        self._attach(primary, standby)

    def _attach(self, primary: PlainServer, standby: PlainServer) -> None:
        primary.query(f"SELECT pg_create_physical_replication_slot('{standby.name}', true)")
        standby.follow(primary)
        standby.start()

    def _wait_streaming(self, primary: PlainServer, count: int) -> None:
        counting = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        wait_for(lambda: primary.query(counting) == count)


def measure_floor(
    folder: Path,
    bin_directory: Path,
    user: User,
    *,
    runs: int = 5,
    members: int = 3,
    data_gib: float = 0.0,
    behind_mib: int = 0,
    say: Say = print,
) -> Floor:
    """`say` is told how the filling goes."""
    bench = FloorBench(folder, bin_directory, user, members=members, behind_mib=behind_mib)
    try:
        bench.set_up(data_gib, say)
        found = {kind: [bench.measure(kind) for _ in range(runs)] for kind in ("kill", "switchover")}
    finally:
        bench.close()
    return Floor(found)


def _go_on(pid: int) -> None:
    if pid:
        os.kill(pid, signal.SIGCONT)


def _lsn(text: str) -> int:
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def _ms_since(at_s: float) -> float:
    return (time.monotonic() - at_s) * 1000


def main(words: list[str]) -> int:
    run = RunId.of_this_process()
    folder = make_run_folder(run)
    janitor = start_janitor(run)
    try:
        programs = Programs.discover()
        runs = int(words[0]) if words else 5
        floor = measure_floor(folder, programs.postgres_bin, programs.postgres_user, runs=runs)
    finally:
        remove_folder(folder)
        dismiss_janitor(janitor)
    print("\n".join(floor.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
