"""The folder of one run, and the name by which everything that belongs to the run is known again.

A run is named after its owner, `primacy-<pid>.<start>`: the process id and the moment, in clock ticks since
boot, at which that process started. Both together are never used twice between two boots, so a later run
can tell a dead owner's leavings from those of a run that is still going on.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "primacy-"
KEEP_MARK = "kept"  # a file in the run folder: the person wants to look at it, no sweep removes it
_RUN_ID = re.compile(r"primacy-(\d+)\.(\d+)(?:-.*)?")
# PostgreSQL refuses socket paths of more than 107 bytes, and ours stay under 90.
_LONGEST_BASE = 30


@dataclass(frozen=True, slots=True)
class RunId:
    owner_pid: int
    owner_started: int

    def __str__(self) -> str:
        return f"{PREFIX}{self.owner_pid}.{self.owner_started}"

    def owner_lives(self) -> bool:
        return started_at_ticks(self.owner_pid) == self.owner_started

    @classmethod
    def of_this_process(cls) -> RunId:
        started = started_at_ticks(os.getpid())
        if started is None:
            raise RuntimeError("/proc does not show this process")
        return cls(os.getpid(), started)

    @classmethod
    def parse(cls, name: str) -> RunId | None:
        """The run that `name` (of a namespace or a folder) belongs to; None for anything that isn't ours."""
        match = _RUN_ID.fullmatch(name)
        return cls(int(match[1]), int(match[2])) if match else None


def started_at_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the command's name in brackets, which may itself hold spaces and brackets.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def base_folder() -> Path:
    chosen = Path(tempfile.gettempdir())
    return chosen if len(str(chosen)) <= _LONGEST_BASE else Path("/tmp")


def make_run_folder(run: RunId) -> Path:
    """A new folder that everybody may read; what is secret in it belongs to one user with mode 0600."""
    folder = Path(tempfile.mkdtemp(prefix=f"{run}-", dir=base_folder()))
    folder.chmod(0o755)
    return folder


def folders_of_runs() -> Iterator[tuple[RunId, Path]]:
    for folder in base_folder().glob(f"{PREFIX}*"):
        run = RunId.parse(folder.name)
        if run is not None and folder.is_dir() and folder.lstat().st_uid == os.geteuid():
            yield run, folder


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
