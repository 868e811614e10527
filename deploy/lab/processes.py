"""Finding and ending the processes of a host.

PostgreSQL calls setsid, outlives its agent and overwrites the environment that /proc shows, so neither the
parent, nor the process group, nor one mark alone finds everything. A process belongs to a host if it lives in
the host's network namespace, or carries the host's mark in its environment, or works in the host's folder.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

RUN_VARIABLE = "PRIMACY_LAB_RUN"
HOST_VARIABLE = "PRIMACY_LAB_HOST"


@dataclass(frozen=True, slots=True)
class Marks:
    """How a host's processes are known. `environment` is a whole entry, NAME=value."""

    namespace_inode: int | None
    environment: tuple[bytes, ...]
    folder: Path | None


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def pids_with(marks: Marks) -> list[int]:
    own = os.getpid()
    return [pid for pid in all_pids() if pid != own and _belongs(pid, marks)]


def _belongs(pid: int, marks: Marks) -> bool:
    try:
        if marks.namespace_inode is not None:
            if Path(f"/proc/{pid}/ns/net").stat().st_ino == marks.namespace_inode:
                return is_live(pid)
            return False
        if marks.folder is not None:
            # The kernel appends " (deleted)" once the folder is gone; the prefix still tells.
            works_in = str(Path(f"/proc/{pid}/cwd").readlink())
            if works_in == str(marks.folder) or works_in.startswith(f"{marks.folder}/"):
                return is_live(pid)
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended meanwhile, or belongs to somebody else
        return False
    return bool(marks.environment) and all(mark in entries for mark in marks.environment) and is_live(pid)


def is_live(pid: int) -> bool:
    return _state(pid) not in "ZX"


def _state(pid: int) -> str:
    """One letter as in proc(5), `X` for a process that is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "X"
    return stat[stat.rindex(")") + 2]


def send(pids: Iterable[int], what: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            continue


def kill_until_none(find: Callable[[], list[int]], *, within_s: float = 5.0) -> int:
    """SIGKILL in passes, as a process may start another while we look. Returns how many were killed."""
    seen: set[int] = set()
    ends_at = time.monotonic() + within_s
    while pids := find():
        seen.update(pids)
        send(pids, signal.SIGKILL)
        if time.monotonic() > ends_at:
            raise TimeoutError(f"processes {pids} are still there {within_s} s after SIGKILL")
        time.sleep(0.002)
    return len(seen)


def stop_until_all(find: Callable[[], list[int]], *, within_s: float = 5.0) -> list[int]:
    """SIGSTOP in passes until a pass finds nobody new and all of them stand still.

    A signal is only sent when kill returns: a process that runs on another core goes on until it is seen there.
    """
    stopped: set[int] = set()
    ends_at = time.monotonic() + within_s
    while (new := set(find()) - stopped) or any(_state(pid) not in "TtZX" for pid in stopped):
        send(new, signal.SIGSTOP)
        stopped |= new
        if time.monotonic() > ends_at:
            raise TimeoutError(
                f"processes {sorted(stopped)} do not all stand still {within_s} s after SIGSTOP"
            )
        time.sleep(0.001)
    return sorted(stopped)


def postmaster_pid(data_directory: Path) -> int | None:
    """The first line of postmaster.pid, if that process lives and works in that data directory."""
    try:
        pid = int((data_directory / "postmaster.pid").read_text().split("\n", 1)[0])
        works_in = Path(f"/proc/{pid}/cwd").readlink()
    except (OSError, ValueError):
        return None
    return pid if works_in == data_directory.resolve() and is_live(pid) else None
