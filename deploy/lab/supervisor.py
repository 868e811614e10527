"""Plays the init system: starts each daemon on its host as its user, again when it dies, and logs to files.

One thread waits for each daemon. What a daemon started itself (PostgreSQL under an agent) is found by
`processes`, not here.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.lab.fleet import Host
from deploy.lab.network import Network
from deploy.lab.processes import HOST_VARIABLE, RUN_VARIABLE
from deploy.lab.programs import User
from deploy.lab.run_folder import RunId

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 2.0
# A daemon that lived this long did start; the next back-off begins anew.
SETTLED_AFTER_S = 5.0
STOP_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """`name` is unique in the lab, such as `control1/orchestrator`."""

    name: str
    host: Host
    command: tuple[str, ...]
    user: User
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    restarts: bool = True
    clock_shift_s: int = 0
    """CLOCK_MONOTONIC and CLOCK_BOOTTIME of the process are ahead by so much: a time namespace, whose offset is
    fixed from its start on. CLOCK_REALTIME has none, and a clock can't jump while the process runs."""

    def with_clock(self, shift_s: int) -> Daemon:
        return replace(self, clock_shift_s=shift_s)


class Supervisor:
    def __init__(self, run: RunId, network: Network, logs: Path) -> None:
        self._run = run
        self._network = network
        self._logs = logs
        self._units: dict[str, _Unit] = {}

    def start(self, daemon: Daemon) -> None:
        unit = self._units.get(daemon.name)
        if unit is not None and unit.is_wanted():
            return
        unit = _Unit(daemon, self)
        self._units[daemon.name] = unit
        unit.start()

    def stop(
        self, name: str, *, how: signal.Signals = signal.SIGTERM, within_s: float = STOP_WITHIN_S
    ) -> None:
        """Ends the daemon and keeps it down; SIGKILL when it takes too long."""
        self._units[name].stop(how, within_s)

    def abandon(self, name: str) -> None:
        """From now on it is not started again. It is not ended either: its host's end does that."""
        self._units[name].abandon()

    def pid(self, name: str) -> int | None:
        return self._units[name].pid

    def ended_with(self, name: str) -> int | None:
        """The newest process's exit status, negative for a signal; None while it runs."""
        return self._units[name].ended_with

    def starts(self, name: str) -> int:
        """How often it was started so far."""
        return self._units[name].starts

    def names(self, host: Host | None = None) -> list[str]:
        return [name for name, unit in self._units.items() if host is None or unit.daemon.host == host]

    def daemon(self, name: str) -> Daemon:
        return self._units[name].daemon

    def log_file(self, name: str) -> Path:
        return self._logs / f"{name.replace('/', '-')}.log"

    def launch(self, daemon: Daemon, **streams: int) -> subprocess.Popen[bytes]:
        """Starts it once, unwatched. The environment is clean: nothing of ours leaks into a daemon."""
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "HOME": str(daemon.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            **daemon.environment,
            RUN_VARIABLE: str(self._run),
            HOST_VARIABLE: daemon.host.name,
        }
        entering = self._network.entering(daemon.host, uid=daemon.user.uid, gid=daemon.user.gid)
        if daemon.clock_shift_s:
            shift = str(daemon.clock_shift_s)
            entering = ["unshare", "--time", "--monotonic", shift, "--boottime", shift, "--", *entering]
        return subprocess.Popen(
            [*entering, *daemon.command],
            env=environment,
            cwd=daemon.folder,
            stdin=streams.get("stdin", subprocess.DEVNULL),
            stdout=streams.get("stdout", subprocess.DEVNULL),
            stderr=streams.get("stderr", subprocess.DEVNULL),
            start_new_session=True,
        )

    def abandon_all(self) -> None:
        for unit in self._units.values():
            unit.abandon()

    def wait_all(self, within_s: float) -> None:
        """After everything was ended: until every thread has seen it."""
        for unit in self._units.values():
            unit.join(within_s)


class _Unit:
    def __init__(self, daemon: Daemon, supervisor: Supervisor) -> None:
        self.daemon = daemon
        self.starts = 0
        self._supervisor = supervisor
        self._process: subprocess.Popen[bytes] | None = None
        self._unwanted = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name=daemon.name, daemon=True)

    def start(self) -> None:
        self._start_once()
        self._thread.start()

    def is_wanted(self) -> bool:
        return not self._unwanted.is_set() and self._thread.is_alive()

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def ended_with(self) -> int | None:
        return None if self._process is None else self._process.returncode

    def abandon(self) -> None:
        with self._lock:
            self._unwanted.set()

    def stop(self, how: signal.Signals, within_s: float) -> None:
        self.abandon()
        process = self._process
        if process is None:
            return
        process.send_signal(how)
        if how is not signal.SIGKILL:
            self._thread.join(within_s)
            if self._thread.is_alive():
                process.kill()
        self._thread.join(STOP_WITHIN_S)

    def join(self, within_s: float) -> None:
        self._thread.join(within_s)

    def _start_once(self) -> float:
        with self._lock:
            if not self._unwanted.is_set():
                with self._supervisor.log_file(self.daemon.name).open("ab") as log:
                    self._process = self._supervisor.launch(
                        self.daemon, stdout=log.fileno(), stderr=log.fileno()
                    )
                self.starts += 1
        return time.monotonic()

    def _watch(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        started_at_s = time.monotonic()
        while self._process is not None:
            code = self._process.wait()
            if self._unwanted.is_set() or not self.daemon.restarts:
                return
            if time.monotonic() - started_at_s > SETTLED_AFTER_S:
                backoff_s = FIRST_BACKOFF_S
            with self._supervisor.log_file(self.daemon.name).open("a") as log:
                log.write(f"[lab] {self.daemon.name} ended with {_ending(code)}; again in {backoff_s} s\n")
            if self._unwanted.wait(backoff_s):
                return
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
            started_at_s = self._start_once()


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"status {code}"
