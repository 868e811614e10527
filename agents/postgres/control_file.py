"""What pg_controldata says of a data directory.

Blocking; called on a lane. The program starts in some milliseconds, so what it said is kept while the
file is the same; the hot paths ask a running PostgreSQL over SQL instead.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from common.lsn import ZERO, Lsn

_CLEAN = ("shut down", "shut down in recovery")


@dataclass(frozen=True, slots=True)
class ControlData:
    system_identifier: str
    state: str
    checkpoint_timeline: int
    redo_lsn: Lsn
    minimum_recovery_lsn: Lsn
    minimum_recovery_timeline: int
    segment_bytes: int
    page_checksums: bool

    @property
    def clean_shutdown(self) -> bool:
        return self.state in _CLEAN

    @property
    def timeline(self) -> int:
        return max(self.checkpoint_timeline, self.minimum_recovery_timeline)


class ControlFile:
    def __init__(self, bin_directory: Path, data_directory: Path) -> None:
        self._program = bin_directory / "pg_controldata"
        self._data_directory = data_directory
        self._path = data_directory / "global" / "pg_control"
        self._known: tuple[tuple[int, int, int], ControlData] | None = None

    def read(self) -> ControlData:
        """Raise OSError when it can't be read or is damaged."""
        status = self._path.stat()
        version = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        if self._known is None or self._known[0] != version:
            self._known = (version, self._ask())
        return self._known[1]

    def identity(self) -> ControlData:
        """System identifier and segment size, which never change; the rest may be of an earlier moment."""
        if self._known is None or self._known[0][0] != self._path.stat().st_ino:
            return self.read()
        return self._known[1]

    def forget(self) -> None:
        """The directory was replaced."""
        self._known = None

    def _ask(self) -> ControlData:
        environment = {**os.environ, "LC_ALL": "C"}
        try:
            done = subprocess.run(
                [self._program, "-D", self._data_directory],
                capture_output=True,
                text=True,
                timeout=5,
                check=False,
                env=environment,
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"pg_controldata did not answer: {error}") from error
        if done.returncode != 0 or "CRC checksum does not match" in done.stdout + done.stderr:
            raise OSError(f"pg_controldata: {(done.stderr or done.stdout).strip()}")
        pairs = (line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
        said = {name.strip(): value.strip() for name, value in pairs}
        try:
            return ControlData(
                system_identifier=said["Database system identifier"],
                state=said["Database cluster state"],
                checkpoint_timeline=int(said["Latest checkpoint's TimeLineID"]),
                redo_lsn=Lsn.parse(said["Latest checkpoint's REDO location"]),
                minimum_recovery_lsn=Lsn.parse(said.get("Minimum recovery ending location", str(ZERO))),
                minimum_recovery_timeline=int(said["Min recovery ending loc's timeline"]),
                segment_bytes=int(said["Bytes per WAL segment"]),
                page_checksums=said["Data page checksum version"] != "0",
            )
        except (KeyError, ValueError) as error:
            raise OSError(f"pg_controldata said something unexpected: {error!r}") from error
