"""The guard's loop: keep an agent alive, hold the deadline, kill PostgreSQL when it is near.

One thread, one loop, every wait bounded. What is known of PostgreSQL is the agent's last report; the deadline
outlives the agent, and this guard too (`channel.Report` is handed to the successor).
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from agents.guard.boottime import SECOND_US, now_us, sleep_us
from agents.guard.channel import (
    FD_VARIABLE,
    MESSAGE_BYTES_MAX,
    Report,
    Word,
    decode_report,
    send,
)
from agents.guard.commit import Commit
from agents.guard.killing import kill_all, stop

RESTART_FIRST_US = 20_000
RESTART_LONGEST_US = 2 * SECOND_US
BAD_CONFIG_RETRY_US = 10 * SECOND_US
"""Only a person can mend it; meanwhile this guard's own commits keep an open primary up."""
LIVED_LONG_US = 10 * SECOND_US
"""An agent that lived so long is started again at once; one that keeps dying, ever later."""
FIRST_REPORT_WITHIN_US = 20 * SECOND_US
"""A start reads files and may find a slow disk; meanwhile the guard's own commits count."""
FAST_STOP_US = 30 * SECOND_US
IMMEDIATE_STOP_US = 5 * SECOND_US
AGENT_STOP_US = 5 * SECOND_US
TURN_US = 250_000
COMMITS_EVERY_US = 100_000
"""One that fails at once (no connection is left, another rule is in force) is not begun again at once."""
EXIT_BAD_CONFIG = 2


class Guard:
    def __init__(self, agent_command: Sequence[str], adopted: Report | None = None) -> None:
        self._command = list(agent_command)
        self._report = adopted or Report()
        self._deadline_us = self._report.deadline_us
        self._knows = adopted is not None
        self._agent: subprocess.Popen[bytes] | None = None
        self._end: socket.socket | None = None
        self._started_us = self._heard_us = now_us()
        self._heard_this_one = False
        self._start_us = now_us()
        self._deaths = 0
        self._commit: Commit | None = None
        self._next_commit_us = 0
        self._selector = selectors.DefaultSelector()
        self._ordered: signal.Signals | None = None

    def run(self) -> int:
        """Until SIGTERM, SIGINT or SIGUSR1; answers the exit code."""
        wakeups, written = socket.socketpair()
        wakeups.setblocking(False)
        written.setblocking(False)
        signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._order)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake the loop
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._selector.register(wakeups, selectors.EVENT_READ)
        while self._ordered is None:
            exit_code = self._reap()
            if exit_code is not None:
                return exit_code
            self._read()  # before judging: a guard that was frozen finds newer reports waiting
            self._keep_agent()
            self._keep_deadline()
            for key, _ in self._selector.select(self._wait_us() / SECOND_US):
                if key.fileobj is wakeups:
                    with suppress(BlockingIOError):
                        wakeups.recv(4096)
                else:
                    self._read()
        return self._end_all(self._ordered)

    # The agent

    def _keep_agent(self) -> None:
        now = now_us()
        if self._agent is None:
            if now >= self._start_us:
                self._start_agent()
            return
        silent_us = now - max(self._heard_us, self._started_us)
        allowed_us = self._report.lease_us // 2 if self._heard_this_one else FIRST_REPORT_WITHIN_US
        if silent_us > allowed_us:
            _say("agent.silent", pid=self._agent.pid, silent_ms=silent_us // 1000, action="killed")
            self._started_us = now  # once is enough; it is reaped in a moment
            _signal(self._agent.pid, signal.SIGKILL)

    def _start_agent(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.setblocking(False)
            send(ours, Word(deadline_us=self._deadline_us))
            self._agent = subprocess.Popen(
                self._command,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, FD_VARIABLE: str(theirs.fileno())},
                start_new_session=True,  # what a terminal sends to the guard is the guard's to hand on
            )
        self._end = ours
        self._selector.register(ours, selectors.EVENT_READ)
        self._started_us = now_us()
        self._heard_this_one = False
        _say("agent.started", pid=self._agent.pid)

    def _agent_died(self, exit_code: int) -> int | None:
        """Answers the guard's own exit code where going on makes no sense."""
        assert self._agent is not None
        self._read()  # the last thing it said counts
        self._agent.returncode = exit_code
        lived_us = now_us() - self._started_us
        _say("agent.died", pid=self._agent.pid, exit_code=exit_code, lived_ms=lived_us // 1000)
        self._agent = None
        if self._end is not None:
            self._selector.unregister(self._end)
            self._end.close()
            self._end = None
        if exit_code == EXIT_BAD_CONFIG and not self._knows:
            return EXIT_BAD_CONFIG  # it said why; nothing runs yet that would need a guard
        self._deaths = 0 if lived_us > LIVED_LONG_US else self._deaths + 1
        pause_us = RESTART_FIRST_US << min(self._deaths, 10) if self._deaths > 1 else 0
        pause_us = min(pause_us, RESTART_LONGEST_US)
        if exit_code == EXIT_BAD_CONFIG:
            pause_us = BAD_CONFIG_RETRY_US
        self._start_us = now_us() + pause_us
        return None

    def _read(self) -> None:
        while self._end is not None:
            try:
                data = self._end.recv(MESSAGE_BYTES_MAX)
            except OSError:
                return
            if not data:
                # It closed its end: it is ending, and is reaped in a moment.
                self._selector.unregister(self._end)
                self._end.close()
                self._end = None
                return
            try:
                report = decode_report(data)
            except (ValueError, TypeError):
                _say("agent.unreadable", bytes=len(data))
                continue
            self._heard_us, self._heard_this_one, self._knows = now_us(), True, True
            self._report = report
            if report.deadline_us is None:
                self._deadline_us = None
            else:
                self._deadline_us = max(self._deadline_us or 0, report.deadline_us)

    # The deadline

    def _keep_deadline(self) -> None:
        if self._deadline_us is None:
            return
        now = now_us()
        if now >= self._deadline_us - self._report.margin_us:
            _say("deadline.passed", action="PostgreSQL is killed")
            gone = kill_all(self._report.data_directory, self._report.program)
            _say("postgres.killed" if gone else "postgres.would_not_die")
            if gone:
                self._deadline_us = None
            return
        if now < self._commit_due_us(self._deadline_us):
            return
        if self._commit is None and self._report.rule is not None and self._report.psql:
            self._next_commit_us = now + COMMITS_EVERY_US
            try:
                self._commit = Commit(self._report)
            except OSError as error:
                _say("commit.not_begun", why=str(error))

    def _commit_due_us(self, deadline_us: int) -> int:
        """Once the last reason to stay up began a third of a lease ago, whether an agent talked meanwhile or not: one
        that dies right after its first report, again and again, is never silent for so long, and never commits."""
        third_us = self._report.lease_us // 3
        return max(deadline_us - self._report.lease_us + third_us, self._next_commit_us)

    def _commit_ended(self, exit_code: int) -> None:
        assert self._commit is not None
        commit, self._commit = self._commit, None
        if not commit.counts(exit_code):
            return
        offered_us = commit.begun_us + self._report.lease_us
        if self._deadline_us is not None and now_us() < self._deadline_us - self._report.margin_us:
            self._deadline_us = max(self._deadline_us, offered_us)
            if self._end is not None:
                with suppress(OSError):
                    send(self._end, Word(deadline_us=self._deadline_us))

    # All children

    def _reap(self) -> int | None:
        """Ours, and those that PostgreSQL left behind: beside a zombie it would refuse to start."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            exit_code = os.waitstatus_to_exitcode(status)
            if self._agent is not None and pid == self._agent.pid:
                own_exit_code = self._agent_died(exit_code)
                if own_exit_code is not None:
                    return own_exit_code
            elif self._commit is not None and pid == self._commit.process.pid:
                self._commit_ended(exit_code)

    def _wait_us(self) -> int:
        now, due = now_us(), [TURN_US]
        if self._agent is None:
            due.append(self._start_us - now)
        if self._deadline_us is not None:
            due.append(self._deadline_us - self._report.margin_us - now)
            due.append(max(self._commit_due_us(self._deadline_us) - now, 50_000))
        return max(min(due), 0)

    def _order(self, number: int, _frame: object) -> None:
        self._ordered = signal.Signals(number)

    def _end_all(self, order: signal.Signals) -> int:
        _say("guard.stopping", signal=order.name)
        if order is not signal.SIGUSR1 and self._report.data_directory:
            # The agent stays until PostgreSQL is gone: it tells the leader in that very moment.
            if self._end is not None:
                with suppress(OSError):
                    send(self._end, Word(rest=True))
                sleep_us(50_000)
            how = stop(
                self._report.data_directory,
                self._report.program,
                fast_us=FAST_STOP_US,
                immediate_us=IMMEDIATE_STOP_US,
            )
            _say("postgres.stopped", how=how or "was not running")
            sleep_us(50_000)
        if self._agent is not None:
            _signal(self._agent.pid, signal.SIGTERM)
            try:
                self._agent.wait(AGENT_STOP_US / SECOND_US)
            except subprocess.TimeoutExpired:
                _signal(self._agent.pid, signal.SIGKILL)
        return 0

    @property
    def last_report(self) -> Report:
        """With the deadline as it is by now."""
        return replace(self._report, deadline_us=self._deadline_us)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _say(event: str, **values: object) -> None:
    """As the agent's console log: an event's name, then values."""
    words = " ".join(f"{name}={value}" for name, value in values.items())
    with suppress(OSError):
        sys.stderr.write(f"primacy-guard: {event} {words}".rstrip() + "\n")
        sys.stderr.flush()
