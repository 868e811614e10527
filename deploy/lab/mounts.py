"""File systems that a run has mounted below its folder: found in the kernel's own list, so a dead run's are too."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

COMMAND_WITHIN_S = 30.0


def mounts_below(folder: Path) -> list[Path]:
    """The deepest first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        where = Path(line.split()[4].encode().decode("unicode_escape"))
        if folder in where.parents:
            found.append(where)
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def thaw_below(folder: Path) -> None:
    """Nothing that waits for a frozen file system can be ended, so this comes before the killing."""
    for where in mounts_below(folder):
        subprocess.run(
            ["fsfreeze", "--unfreeze", str(where)], capture_output=True, timeout=COMMAND_WITHIN_S, check=False
        )


def unmount_below(folder: Path) -> None:
    """Also where somebody still holds a file: the loop device goes with its last user."""
    if os.geteuid() != 0:
        return
    for where in mounts_below(folder):
        done = subprocess.run(
            ["umount", "--lazy", str(where)],
            capture_output=True,
            text=True,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"umount {where} failed: {done.stderr.strip()}")
