"""One guard for a member: another one waits until the agent that runs already has ended. Standard library only.

Where a guard is killed its agent takes its place and starts a new agent (agents/guard_link.py), and the init system
starts a guard as well, whose agent would find the state directory in use, end, and be started again for ever. That one
is needed later, when the first is killed too.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from agents.guard.boottime import SECOND_US, sleep_us

_CHECK_WITHIN_S = 30.0


def wait_for_turn(config_file: Path, check: Sequence[str]) -> int:
    """Return 0 when no agent of this member runs. A file that can't be read is no reason to wait: the agent says why.

    `check` says all mistakes in the file; its exit code is returned at once, where it is not 0 and one would have to
    wait: a person who mends the file should not wait for that.
    """
    try:
        told = tomllib.loads(config_file.read_text(encoding="utf-8"))
        state_directory = Path(str(told["state_directory"]))
    except (OSError, ValueError, KeyError):
        return 0
    said = 0
    while pid := running_agent(state_directory):
        if not said and (mistaken := _exit_code(check)):
            return mistaken
        if pid != said:
            sys.stderr.write(
                f"primacy-guard: the agent {pid} of this member runs; waits until it has ended\n"
            )
            said = pid
        sleep_us(SECOND_US)
    return 0


def _exit_code(check: Sequence[str]) -> int:
    """0 too where it does not end: then one waits, as without it."""
    try:
        return subprocess.run(
            check, stdout=subprocess.DEVNULL, check=False, timeout=_CHECK_WITHIN_S
        ).returncode
    except subprocess.TimeoutExpired:
        return 0


def running_agent(state_directory: Path) -> int:
    """Its pid, from its lock file; 0: none. The lock itself is not tried: an agent that starts just then would fail."""
    try:
        pid = int((state_directory / "agent.lock").read_text(encoding="ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if b"agents.main" in words else 0
