"""The guard with real processes: a stand-in for the agent, `sleep` for PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.guard.killing import processes_of, stop
from agents.guard.turn import running_agent, wait_for_turn
from tests.agents.standin import GUARD, eventually

ROOT = Path(__file__).parents[2]


class Host:
    """A folder with a data directory, a PostgreSQL that sleeps in it, and a guard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        self.postgres = subprocess.Popen(["sleep", "60"], cwd=self.data)
        self.guard: subprocess.Popen[bytes] | None = None

    def start(self, **part: object) -> None:
        before = len(self.agents())
        (self.folder / "part").write_text(json.dumps(part))
        self.guard = subprocess.Popen([sys.executable, "-c", GUARD, str(self.folder)], cwd=ROOT)
        eventually(lambda: len(self.agents()) > before)

    def agents(self) -> list[int]:
        file = self.folder / "agents"
        return [int(line.split()[0]) for line in file.read_text().splitlines()] if file.exists() else []

    def deadlines_handed_over(self) -> list[str]:
        return [line.split()[1] for line in (self.folder / "agents").read_text().splitlines()]

    def postgres_runs(self) -> bool:
        return self.postgres.poll() is None

    def clean_up(self) -> None:
        for process in (self.guard, self.postgres):
            if process is not None:
                process.kill()
                process.wait()
        for pid in self.agents():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.clean_up()


@pytest.mark.covers("S10", "S34")
def test_an_open_primary_whose_deadline_passes_is_killed(host: Host) -> None:
    host.start(do="live", deadline_in_ms=1_500)
    assert host.postgres_runs()
    eventually(lambda: not host.postgres_runs())


def test_a_closed_primary_or_standby_needs_no_deadline(host: Host) -> None:
    host.start(do="live")
    time.sleep(0.5)
    assert host.postgres_runs()


@pytest.mark.covers("T44")
def test_a_dead_agent_is_started_again_at_once_and_postgres_goes_on(host: Host) -> None:
    host.start(do="live", deadline_in_ms=60_000)
    os.kill(host.agents()[0], signal.SIGKILL)
    eventually(lambda: len(host.agents()) == 2)
    assert host.postgres_runs()
    assert host.deadlines_handed_over()[0] == "None"
    assert int(host.deadlines_handed_over()[1]) > 0


@pytest.mark.covers("S9", "S10")
def test_a_hung_agent_is_replaced_after_half_a_lease(host: Host) -> None:
    host.start(do="live", lease_ms=1_000)
    os.kill(host.agents()[0], signal.SIGSTOP)
    eventually(lambda: len(host.agents()) == 2)
    assert host.postgres_runs()


@pytest.mark.parametrize(
    ("counts", "psql"),
    [
        pytest.param(True, "echo primacy-committed", id="acknowledged"),
        pytest.param(False, "echo primacy-committed; echo WARNING >&2", id="given_up_with_a_warning"),
        pytest.param(False, "true", id="another_rule_in_force"),
    ],
)
def test_while_the_agent_is_silent_the_guards_own_commit_moves_the_deadline(
    host: Host, counts: bool, psql: str
) -> None:
    # The stand-in hands back the deadline that it was given, so only a commit can have moved it.
    host.start(
        do="silent",
        deadline_in_ms=1_200,
        lease_ms=2_000,
        rule="",
        psql=["sh", "-c", f"cat >/dev/null; {psql}"],
    )
    time.sleep(3)
    assert host.postgres_runs() is counts


def test_agents_that_die_after_their_first_report_do_not_keep_the_guard_from_its_own_commit(
    host: Host,
) -> None:
    # One after the other talks in time, and none lives long enough to commit (seed 9503461).
    host.start(
        do="die",
        deadline_in_ms=1_200,
        lease_ms=2_000,
        rule="",
        psql=["sh", "-c", "cat >/dev/null; echo primacy-committed"],
    )
    time.sleep(3)
    assert len(host.agents()) > 3
    assert host.postgres_runs()


@pytest.mark.parametrize(
    ("agent", "deadline_in_ms", "at_most"),
    [
        pytest.param("renew", 6_000, 0, id="none_beside_an_agent_that_moves_the_deadline"),
        pytest.param("live", 3_000, 30, id="one_that_fails_is_not_begun_again_at_once"),
    ],
)
def test_the_guard_begins_no_more_commits_of_its_own_than_are_wanted(
    host: Host, agent: str, deadline_in_ms: int, at_most: int
) -> None:
    begun = host.folder / "begun"
    psql = ["sh", "-c", f"cat >/dev/null; echo one >> {begun}; exit 1"]
    host.start(do=agent, deadline_in_ms=deadline_in_ms, lease_ms=6_000, rule="", psql=psql)
    time.sleep(1)
    count = len(begun.read_text().splitlines()) if begun.exists() else 0
    assert count <= at_most
    assert (count > 0) is (at_most > 0)


def test_when_the_guard_is_killed_its_agent_becomes_a_guard_with_a_new_agent(host: Host) -> None:
    host.start(do="live", deadline_in_ms=3_000)
    assert host.guard is not None
    host.guard.kill()
    host.guard.wait()
    eventually(lambda: len(host.agents()) == 2)
    successor, agent = host.agents()
    assert Path(f"/proc/{agent}/stat").read_text().split()[3] == str(successor)
    assert int(host.deadlines_handed_over()[1]) > 0
    assert host.postgres_runs()
    eventually(lambda: not host.postgres_runs())  # it kept the deadline


@pytest.mark.covers("S10", "S103")
def test_sigusr1_leaves_postgres_running_and_sigterm_stops_it(host: Host) -> None:
    host.start(do="live")
    assert host.guard is not None
    host.guard.send_signal(signal.SIGUSR1)
    assert host.guard.wait(8) == 0
    assert host.postgres_runs()
    host.start(do="live")
    host.guard.send_signal(signal.SIGTERM)
    assert host.guard.wait(8) == 0
    assert host.postgres.wait(1) == -signal.SIGINT


def test_only_the_program_in_the_data_directory_is_stopped(host: Host) -> None:
    host.postgres.kill()
    host.postgres.wait()
    stubborn = ["sh", "-c", "trap '' INT QUIT; exec sleep 60"]  # it takes more than asking
    host.postgres = subprocess.Popen(stubborn, cwd=host.data)
    eventually(lambda: processes_of(str(host.data), "/usr/bin/sleep") == [host.postgres.pid])
    shell = subprocess.Popen(["cat"], cwd=host.data, stdin=subprocess.PIPE)
    try:
        assert stop(str(host.data), "sleep", fast_us=50_000, immediate_us=50_000) == "killed"
        assert shell.poll() is None
    finally:
        shell.kill()
        shell.communicate()


@pytest.mark.covers("T37")
def test_a_guard_that_was_frozen_hears_its_agent_before_it_judges(host: Host) -> None:
    host.start(do="renew", lease_ms=1_000, deadline_in_ms=1_000)
    assert host.guard is not None
    host.guard.send_signal(signal.SIGSTOP)
    time.sleep(1.5)  # longer than the deadline that it knows
    host.guard.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    assert host.postgres_runs()
    os.kill(host.agents()[0], signal.SIGKILL)


def test_a_hung_guard_is_replaced_by_its_agent(host: Host) -> None:
    host.start(do="link", lease_ms=1_000, deadline_in_ms=1_000)
    assert host.guard is not None
    host.guard.send_signal(signal.SIGSTOP)
    eventually(lambda: len(host.agents()) == 2)
    assert host.guard.wait(8) == -signal.SIGKILL
    successor, agent = host.agents()
    assert Path(f"/proc/{agent}/stat").read_text().split()[3] == str(successor)
    assert host.postgres_runs()


def test_a_second_guard_waits_for_the_agent_that_runs_already(tmp_path: Path) -> None:
    """Its own would find the state directory in use, and end, again and again."""
    config = tmp_path / "agent.toml"
    config.write_text(f'state_directory = "{tmp_path}"\n')
    assert running_agent(tmp_path) == 0
    agent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "-m", "agents.main"])
    try:
        (tmp_path / "agent.lock").write_text(f"{agent.pid}\n")
        eventually(lambda: running_agent(tmp_path) == agent.pid)
        waiting = threading.Thread(target=wait_for_turn, args=(config, ["true"]))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        assert wait_for_turn(config, ["false"]) == 1, "mistakes in the file are told at once"
    finally:
        agent.kill()
        agent.wait()
    waiting.join(5.0)
    assert not waiting.is_alive()
    (tmp_path / "agent.lock").write_text(f"{os.getpid()}\n")  # of somebody else by now
    assert running_agent(tmp_path) == 0
