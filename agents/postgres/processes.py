"""PostgreSQL's processes, as the kernel tells of them (/proc).

Blocking, but never on a disk. Nothing is believed that PostgreSQL itself wrote, but the titles of processes.
A process of an instance: alive, of the server's program, its working directory in the data directory
(backends call setsid, so a process group won't do). A zombie counts as gone.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.timebase import MS_US, Instant

_GONE = (FileNotFoundError, ProcessLookupError)
_SERVER_PROGRAMS = ("postgres", "postmaster")
_RECEIVERS = ("walreceiver", "slotsync worker")


@dataclass(frozen=True, slots=True)
class Child:
    pid: int
    title: str
    """What comes after `postgres: ` and the cluster's name; empty while it has not taken one."""
    started_ticks: int = 0
    """When it was forked, in the kernel's ticks since boot (proc(5), `starttime`); 0 when it was gone already."""

    @property
    def is_receiver(self) -> bool:
        return self.title.startswith(_RECEIVERS)

    @property
    def is_startup(self) -> bool:
        return self.title.startswith("startup")


@dataclass(frozen=True, slots=True)
class SharedMemory:
    key: int
    identifier: int

    def is_attached(self) -> bool:
        with open("/proc/sysvipc/shm", encoding="ascii") as table:
            columns = {name: place for place, name in enumerate(next(table).split())}
            for line in table:
                row = line.split()
                if int(row[columns["key"]]) == self.key and int(row[columns["shmid"]]) == self.identifier:
                    return int(row[columns["nattch"]]) > 0
        return False


def state_of(pid: int) -> str:
    """The kernel's letter (R, S, D, T, Z …); `X` when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except _GONE:
        return "X"
    return stat.rpartition(")")[2].split()[0]


def is_alive(pid: int) -> bool:
    return state_of(pid) not in ("X", "Z")


def is_stopped(pid: int) -> bool:
    """By SIGSTOP or a debugger: it will not act on any signal but SIGKILL."""
    return state_of(pid) in ("T", "t")


def cpu_ticks(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except _GONE:
        return 0
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def started_ticks(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except _GONE:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def ticks_at(now: Instant) -> int:
    """Comparable with `started_ticks`, also inside a time namespace: both count from the boot (clock_gettime(2))."""
    return now * os.sysconf("SC_CLK_TCK") // (1000 * MS_US)


def signs_of_work(pid: int) -> tuple[int, ...]:
    """Of its first thread: CPU ticks and context switches. The same twice: it did not run in between."""
    switches = []
    with suppress(*_GONE):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if "ctxt_switches" in line:
                switches.append(int(line.split()[1]))
    return (cpu_ticks(pid), *switches)


def full_title(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        )
    except _GONE:
        return ""


def children(postmaster_pid: int, cluster_name: str) -> list[Child]:
    """The living ones. A just forked child still shows the postmaster's own command line: no title yet."""
    try:
        pids = (
            Path(f"/proc/{postmaster_pid}/task/{postmaster_pid}/children").read_text(encoding="ascii").split()
        )
    except _GONE:
        return []
    found = []
    for pid in map(int, pids):
        text = full_title(pid)
        if not is_alive(pid):
            continue
        prefix, _, title = text.partition("postgres: ")
        title = "" if prefix else title.removeprefix(f"{cluster_name}: ")
        found.append(Child(pid, title, started_ticks(pid) if not title else 0))
    return found


@functools.cache
def _real(data_directory: Path) -> str:
    """Once: resolving a path again may hang with the disk that it leads to."""
    return os.path.realpath(data_directory)


def processes_of(data_directory: Path) -> list[int]:
    wanted = _real(data_directory)
    return [pid for pid in _all_pids() if _belongs(pid, wanted)]


def is_postmaster_of(pid: int, data_directory: Path) -> bool:
    """It lives, works in the data directory and has no child's title."""
    return _belongs(pid, _real(data_directory)) and not full_title(pid).startswith("postgres: ")


def _all_pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _belongs(pid: int, data_directory: str) -> bool:
    with suppress(OSError):  # gone meanwhile, or another user's
        if os.readlink(f"/proc/{pid}/cwd") != data_directory:
            return False
        program = Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
        return program in _SERVER_PROGRAMS and is_alive(pid)
    return False
