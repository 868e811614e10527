"""The commit of reason (b), made by the guard with `psql` while no agent moves the deadline.

One at a time, and never cancelled: a cancelled wait is answered as success. It counts only if psql saw the
stored rule in force, the commit ended, and nothing was said on standard error (a warning says that the wait
was given up).
"""

from __future__ import annotations

import os
import subprocess

from agents.guard.boottime import now_us
from agents.guard.channel import Report

_DONE = b"primacy-committed"
_SCRIPT = rf"""
SET client_min_messages = warning;
SET synchronous_commit = on;
SELECT current_setting('synchronous_standby_names') = :'rule' AS same \gset
\if :same
SELECT pg_logical_emit_message(true, 'primacy', 'guard');
\echo {_DONE.decode()}
\endif
"""
_OUTPUT_BYTES_MAX = 4096


class Commit:
    def __init__(self, report: Report) -> None:
        """Begin it. Raise OSError when psql can't be started."""
        assert report.rule is not None
        self.begun_us = now_us()  # before anything is sent
        self.process = subprocess.Popen(
            [*report.psql, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", f"rule={report.rule}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PGCONNECT_TIMEOUT": "2", "PGAPPNAME": "primacy_guard"},
        )
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(_SCRIPT.encode())
            self.process.stdin.close()
        except BrokenPipeError:
            return  # it ended at once; its exit code says so

    def counts(self, exit_code: int) -> bool:
        """Call it when the process was reaped."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.returncode = exit_code  # reaped by the guard, not by `subprocess`
        with self.process.stdout as out, self.process.stderr as err:
            said, complained = out.read(_OUTPUT_BYTES_MAX), err.read(_OUTPUT_BYTES_MAX)
        return exit_code == 0 and _DONE in said.splitlines() and not complained.strip()
