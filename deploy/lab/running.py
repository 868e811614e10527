"""What runs on hosts that don't become whole, and what it waits for: a program that hangs says nothing in a log."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_WORDS_MAX = 160


def what_runs(pids: Iterable[int]) -> str:
    """A line for each process: its number, state and age, where it waits in the kernel, and its command."""
    return "\n".join(filter(None, map(_line, sorted(pids))))


def _line(pid: int) -> str:
    """Empty for one that has ended meanwhile."""
    folder = Path(f"/proc/{pid}")
    try:
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""
    waits_in = ""
    with suppress(OSError):  # not every kernel tells
        waits_in = (folder / "wchan").read_text().strip()
    per_s = os.sysconf("SC_CLK_TCK")
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / per_s
    cpu_s = (int(fields[11]) + int(fields[12])) / per_s
    words = " ".join(command.split())[:_WORDS_MAX]
    return f"{pid} {fields[0]} {age_s:.1f} s old, {cpu_s:.2f} s of CPU, in {waits_in or '?'}: {words}"
