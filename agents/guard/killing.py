"""Finding and ending the processes of one PostgreSQL, by the kernel's word alone.

A process belongs to it if it runs PostgreSQL's program with its working directory in the data directory:
backends call setsid, and lose their parent when the postmaster dies, so neither a process group nor a tree
finds them. The program's name is asked for too, so that somebody's shell in that directory is left alone.
A zombie is gone.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from agents.guard.boottime import SECOND_US, now_us, sleep_us

_LOOK_EVERY_US = 2_000


def processes_of(data_directory: str, program: str) -> list[int]:
    wanted = os.path.realpath(data_directory)
    name = os.path.basename(program)  # noqa: PTH119 - text of the kernel's, not a path that is used
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _belongs(entry, wanted, name)]


def kill_all(data_directory: str, program: str, *, within_us: int = 10 * SECOND_US) -> bool:
    """SIGKILL until none is left; the postmaster first, so that it starts no more. False: not all died."""
    ends_us = now_us() + within_us
    while pids := processes_of(data_directory, program):
        _send(sorted(pids, key=lambda pid: _parent(pid) in pids), signal.SIGKILL)
        if now_us() > ends_us:
            return False
        sleep_us(_LOOK_EVERY_US)
    return True


def stop(data_directory: str, program: str, *, fast_us: int, immediate_us: int) -> str:
    """A fast shutdown, then an immediate one, then SIGKILL; answers what it took, empty if nothing ran."""
    for what, number, within_us in (
        ("fast", signal.SIGINT, fast_us),
        ("immediate", signal.SIGQUIT, immediate_us),
    ):
        pids = processes_of(data_directory, program)
        if not pids:
            return "" if what == "fast" else "fast"
        _send([pid for pid in pids if _parent(pid) not in pids], number)
        ends_us = now_us() + within_us
        while processes_of(data_directory, program):
            if now_us() > ends_us:
                break
            sleep_us(10_000)
        else:
            return what
    return "killed" if kill_all(data_directory, program) else "would not die"


def _belongs(pid: str, data_directory: str, name: str) -> bool:
    try:
        if os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)") != data_directory:
            return False
        program = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
        return program.rpartition("/")[2] == name and _state(pid) not in "ZX"
    except OSError:  # it ended meanwhile, or belongs to somebody else
        return False


def _stat(pid: str) -> list[str]:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def _state(pid: str) -> str:
    return _stat(pid)[0]


def _parent(pid: int) -> int:
    try:
        return int(_stat(str(pid))[1])
    except OSError:
        return 0


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
