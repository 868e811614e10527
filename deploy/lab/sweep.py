"""Removes what a dead run has left behind: processes, namespaces, shared memory, mounted disks, folders.

Two callers: every lab, before it starts, for all runs whose owner is dead; and the janitor, a small process
beside each lab, which wakes up when its owner's end of a pipe closes. So even a lab that was killed by
SIGKILL leaves nothing. Nothing is touched that does not carry the name of a run whose owner is dead.

Run as `python -m deploy.lab.sweep` it sweeps once and says what it found.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from deploy.lab import processes
from deploy.lab.mounts import thaw_below, unmount_below
from deploy.lab.namespaces import NAMESPACES, inodes_of, remove_namespaces_of, runs_with_namespaces
from deploy.lab.processes import RUN_VARIABLE, Marks
from deploy.lab.run_folder import KEEP_MARK, RunId, folders_of_runs, remove_folder
from deploy.lab.shared_memory import remove_left_behind, remove_named_by

IMMEDIATE_STOP_WITHIN_S = 3.0
OWNER_DIES_WITHIN_S = 10.0
ALL_IS_WELL = b"done"


def sweep_dead_runs() -> list[RunId]:
    """Everything of every run whose owner is dead. Returns those runs."""
    known = {run for run, _ in folders_of_runs()} | runs_with_namespaces()
    dead = sorted((run for run in known if not run.owner_lives()), key=str)
    for run in dead:
        sweep(run)
    return dead


def sweep(run: RunId) -> None:
    folders = [folder for found, folder in folders_of_runs() if found == run]
    for folder in folders:
        thaw_below(folder)
    end_processes(run, folders)
    if NAMESPACES.is_dir():
        remove_namespaces_of(run)
    for folder in folders:
        unmount_below(folder)
        if not (folder / KEEP_MARK).exists():
            remove_folder(folder)


def end_processes(run: RunId, folders: list[Path]) -> None:
    """PostgreSQL is stopped at once, as a killed one leaves shared memory behind; the rest is killed."""
    by_name = (f"{RUN_VARIABLE}={run}".encode(),)
    marks = [Marks(None, by_name, None), *(Marks(None, by_name, folder) for folder in folders)]
    marks += [Marks(inode, (), None) for inode in inodes_of(run)]

    def everything() -> list[int]:
        return sorted({pid for mark in marks for pid in processes.pids_with(mark)})

    data_directories = [
        found.parent for folder in folders for found in folder.glob("hosts/*/*/postmaster.pid")
    ]
    postmasters = {pid for data in data_directories if (pid := processes.postmaster_pid(data)) is not None}
    others = [pid for pid in everything() if pid not in postmasters and not _is_postgres(pid)]
    processes.send(others, signal.SIGKILL)
    stop_at_once(postmasters)
    processes.kill_until_none(everything)
    for data in data_directories:
        remove_named_by(data)
    clusters = [found for folder in folders for found in folder.glob("hosts/*/*/PG_VERSION")]
    remove_left_behind({found.stat().st_uid for found in clusters}, run.owner_started)


def stop_at_once(postmasters: set[int]) -> None:
    processes.send(postmasters, signal.SIGQUIT)
    processes.send(postmasters, signal.SIGCONT)
    ends_at_s = time.monotonic() + IMMEDIATE_STOP_WITHIN_S
    while any(processes.is_live(pid) for pid in postmasters) and time.monotonic() < ends_at_s:
        time.sleep(0.01)


def _is_postgres(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name.startswith("postgres")
    except OSError:
        return False


def start_janitor(run: RunId) -> subprocess.Popen[bytes]:
    """In a session of its own, out of reach of Ctrl-C; `dismiss_janitor` tells it that all is well."""
    code = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.lab.sweep", str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=code,
        start_new_session=True,
    )


def dismiss_janitor(janitor: subprocess.Popen[bytes]) -> None:
    try:
        janitor.communicate(ALL_IS_WELL, timeout=OWNER_DIES_WITHIN_S)
    except (BrokenPipeError, subprocess.TimeoutExpired):
        janitor.kill()
        janitor.wait()


def _be_the_janitor(run: RunId) -> None:
    if sys.stdin.buffer.read() == ALL_IS_WELL:
        return
    ends_at_s = time.monotonic() + OWNER_DIES_WITHIN_S
    while run.owner_lives() and time.monotonic() < ends_at_s:
        time.sleep(0.05)
    if not run.owner_lives():
        sweep(run)


def main(arguments: list[str]) -> int:
    if arguments:
        run = RunId.parse(arguments[0])
        if run is None:
            print(f"{arguments[0]!r} is not the name of a run", file=sys.stderr)
            return 2
        _be_the_janitor(run)
        return 0
    for run in sweep_dead_runs():
        print(f"removed what {run} had left behind")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
