"""What is kept of processes that hang."""

from __future__ import annotations

import os
import subprocess
import sys

from deploy.lab.running import what_runs


def test_a_process_is_told_with_its_command_and_where_it_waits() -> None:
    waiting = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()  # waits for a line"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert waiting.stdout is not None
        waiting.stdout.readline()
        told = what_runs([waiting.pid])
        assert told.startswith(f"{waiting.pid} ")
        assert "waits for a line" in told
        assert " s old, " in told
    finally:
        waiting.communicate()
    assert what_runs([waiting.pid]) == ""


def test_each_process_is_a_line_of_its_own() -> None:
    assert len(what_runs([os.getpid(), os.getppid()]).splitlines()) == 2
