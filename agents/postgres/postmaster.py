"""The postmaster: starting it, finding one that runs, signalling it, and seeing its death at once.

It is started in a session of its own, so that it outlives the agent, and never by pg_ctl, which looks every
100 ms. Its death is told by a pidfd, which, unlike a pid, can't come to mean another process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agents.postgres.config import InstanceConfig
from agents.postgres.files import read_text
from agents.postgres.processes import SharedMemory, is_postmaster_of

_LOG_BYTES_MAX = 10 << 20


@dataclass(frozen=True, slots=True)
class PidFile:
    """postmaster.pid (PostgreSQL manual, section 70.1 and src/include/utils/pidfile.h)."""

    pid: int
    shared_memory: SharedMemory | None
    status: str
    """starting, stopping, ready (takes SQL) or standby (does not)."""


def read_pid_file(data_directory: Path) -> PidFile | None:
    """None when there is none, or one that was just begun to be written."""
    lines = (read_text(data_directory / "postmaster.pid") or "").splitlines()
    if not lines or not lines[0].strip().lstrip("-").isdigit():
        return None
    memory = lines[6].split() if len(lines) > 6 else []
    shared = SharedMemory(int(memory[0]), int(memory[1])) if len(memory) == 2 else None
    return PidFile(abs(int(lines[0])), shared, lines[7].strip() if len(lines) > 7 else "")


class Postmaster:
    """A living postmaster, or one that lived; needs a running event loop."""

    def __init__(self, pid: int, started: subprocess.Popen[bytes] | None = None) -> None:
        """Raise ProcessLookupError when it is gone already."""
        self.pid = pid
        self.gone = asyncio.Event()
        self.told_to_stop = False
        self._started = started
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(pid)
        self._loop.add_reader(self._pidfd, self._on_gone)

    @property
    def alive(self) -> bool:
        return not self.gone.is_set()

    def send(self, number: signal.Signals) -> None:
        """To a postmaster that is gone nothing is sent, and that is fine."""
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def gone_within(self, within_ms: int) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.gone.wait(), within_ms / 1000)
        return self.gone.is_set()

    def let_go(self) -> None:
        """Stop watching; PostgreSQL goes on."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self._started is not None:
            self._started.poll()
            self._started = None

    def _on_gone(self) -> None:
        self._reap()
        self.let_go()
        self.gone.set()

    def _reap(self) -> None:
        if self._started is not None:
            with suppress(subprocess.TimeoutExpired):
                self._started.wait(0.1)
            return
        with suppress(ChildProcessError):  # adopted: the child of an init, or ours from before an exec
            os.waitpid(self.pid, os.WNOHANG)


def find_postmaster(data_directory: Path) -> int | None:
    """The pid that postmaster.pid names, if that process is alive and works in this directory. Blocking.

    Its start time is not compared: the working directory is the better proof, and does not move when somebody
    sets the clock.
    """
    found = read_pid_file(data_directory)
    if found is None or not is_postmaster_of(found.pid, data_directory):
        return None
    return found.pid


def spawn(config: InstanceConfig) -> Postmaster:
    """Raise OSError when the program can't be run."""
    _turn_log(config.log_file)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment["PGSERVICEFILE"] = str(config.service_file)
    run_as = config.run_as
    with config.log_file.open("ab") as log:
        started = subprocess.Popen(
            [config.bin_directory / "postgres", "-D", config.data_directory],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            user=None if run_as is None else run_as.uid,
            group=None if run_as is None else run_as.gid,
            extra_groups=None if run_as is None else [],
        )
    return Postmaster(started.pid, started)


def last_words(config: InstanceConfig, since: int) -> str:
    """The last lines of the log from this offset on, for people."""
    try:
        with config.log_file.open("rb") as log:
            log.seek(max(since, config.log_file.stat().st_size - 20_000))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return " / ".join(lines[-4:])


def log_size(config: InstanceConfig) -> int:
    try:
        return config.log_file.stat().st_size
    except FileNotFoundError:
        return 0


def _turn_log(log_file: Path) -> None:
    with suppress(FileNotFoundError):
        if log_file.stat().st_size > _LOG_BYTES_MAX:
            log_file.replace(log_file.with_suffix(".log.1"))
