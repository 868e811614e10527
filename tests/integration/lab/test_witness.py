"""The reference client and the poller as processes, against a plain PostgreSQL and a stubbed name server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from deploy.bench.plain import PlainServer, wait_for
from deploy.bench.second_writer import CREATE_TABLE, judge_pollers, read_pollers
from deploy.bench.verdict import Journal, judge, read_journal
from deploy.lab.fault import now_us
from tests.integration.lab.dns_stub import DnsStub

pytestmark = [pytest.mark.real, pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[3]


@contextmanager
def client(postgres: PlainServer, where: str, journal: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable, "-m", "deploy.bench.client",
        "--name", "primary.shop.db.example", "--name-server", where, "--port", str(postgres.port),
        "--user", "postgres", "--database", "postgres", "--journal", str(journal), *more,
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def lines_of(journal: Path) -> list[str]:
    return journal.read_text().splitlines(keepends=True) if journal.exists() else []


def journal_of(path: Path) -> Journal:
    return read_journal(lines_of(path))


def wait_for_rows(path: Path, count: int) -> None:
    wait_for(lambda: len(journal_of(path).acknowledged) >= count)


def present(postgres: PlainServer) -> list[int]:
    return list(postgres.query("SELECT coalesce(array_agg(n), '{}') FROM reference_client"))


def test_a_quiet_run_writes_at_its_pace_over_one_connection_and_loses_nothing(
    postgres: PlainServer, name_server: DnsStub, tmp_path: Path
) -> None:
    with client(postgres, name_server.where, tmp_path / "journal"):
        wait_for_rows(tmp_path / "journal", 200)
    verdict = judge(journal_of(tmp_path / "journal"), present(postgres))
    assert verdict.lost == ()
    assert verdict.acknowledged_count >= 200
    # How many commits a second a busy machine can do is not the client's doing; the border of 95 % is
    # tested in tests/deploy/test_verdict.py.
    assert 50 < verdict.pace_percent < 101
    assert name_server.asked_count == 1


def test_a_crash_is_seen_as_an_outage_and_a_planted_loss_as_a_loss(
    postgres: PlainServer, name_server: DnsStub, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    with client(postgres, name_server.where, path):
        wait_for_rows(path, 50)
        at_us = now_us()
        postgres.stop(signal.SIGKILL)
        postgres.start()
        before = len(journal_of(path).acknowledged)
        wait_for_rows(path, before + 50)
    journal = journal_of(path)
    verdict = judge(journal, present(postgres), [at_us])
    assert verdict.lost == ()
    assert verdict.outages[0].length_us is not None
    assert verdict.outages[0].length_us > 50_000
    assert verdict.reconnect_count == 1
    assert name_server.asked_count > 2  # at every attempt to connect

    planted = journal.acknowledged[len(journal.acknowledged) // 2].n
    postgres.query(f"DELETE FROM reference_client WHERE n = {planted}")
    verdict = judge(journal, present(postgres), [at_us])
    assert verdict.lost == (planted,)
    assert not verdict.passed


def test_a_frozen_server_is_given_up_in_time_and_what_was_under_way_is_in_doubt(
    postgres: PlainServer, name_server: DnsStub, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    logged_before = len(postgres.log.read_text())
    with client(postgres, name_server.where, path):
        wait_for_rows(path, 20)
        pids = postgres.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            wait_for(lambda: sum(connect.outcome == "timeout" for connect in journal_of(path).connects) >= 2)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        wait_for_rows(path, len(journal_of(path).acknowledged) + 20)
    journal = journal_of(path)
    timed_out = [connect for connect in journal.connects if connect.outcome == "timeout"]
    assert all(200_000 <= connect.took_us < 400_000 for connect in timed_out)
    (doubted,) = [json.loads(line) for line in lines_of(path) if '"timeout"' in line and '"insert"' in line]
    assert 300_000 <= doubted["done"] - doubted["at"] < 500_000
    assert journal.in_doubt == {doubted["n"]}
    assert judge(journal, present(postgres)).lost == ()
    assert "canceling" not in postgres.log.read_text()[logged_before:]  # no cancel request was ever sent


@pytest.mark.covers("T1")
def test_a_warning_is_not_an_acknowledgement(
    postgres: PlainServer, name_server: DnsStub, tmp_path: Path
) -> None:
    """A synchronous commit that somebody cancels is a success with a warning to PostgreSQL."""
    path = tmp_path / "journal"
    stop = threading.Event()

    def cancel_waiting() -> None:
        conninfo = f"host={postgres.data.parent} port={postgres.port} user=postgres"
        with psycopg.connect(conninfo, autocommit=True) as connection:
            while not stop.wait(0.02):
                connection.execute(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                )

    with client(postgres, name_server.where, path):
        wait_for_rows(path, 10)
        canceller = threading.Thread(target=cancel_waiting)
        canceller.start()
        try:
            postgres.configure(port=str(postgres.port), synchronous_standby_names="nobody")
            postgres.reload()
            wait_for(lambda: len(journal_of(path).warned) >= 3)
        finally:
            stop.set()
            canceller.join()
    journal = journal_of(path)
    assert journal.warned <= journal.in_doubt
    assert not journal.warned & journal.numbers
    assert judge(journal, present(postgres)).visible_in_doubt_count >= 3


def test_a_silent_name_server_costs_the_connect_deadline_and_no_more(
    postgres: PlainServer, name_server: DnsStub, tmp_path: Path
) -> None:
    name_server.address = None
    path = tmp_path / "journal"
    with client(postgres, name_server.where, path):
        wait_for(lambda: len(journal_of(path).connects) >= 2)
        name_server.address = "127.0.0.1"
        wait_for_rows(path, 5)
    silent = [connect for connect in journal_of(path).connects if connect.outcome == "name_server_silent"]
    assert len(silent) >= 2
    assert all(connect.took_us < 400_000 for connect in silent)


@pytest.mark.parametrize("mode", ["libpq", "multihost", "caching"])
def test_the_other_clients_write_too(
    postgres: PlainServer, name_server: DnsStub, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "journal"
    with client(postgres, name_server.where, path, "--mode", mode, "--hosts", "127.0.0.2,127.0.0.1"):
        wait_for_rows(path, 20)
    assert judge(journal_of(path), present(postgres)).lost == ()


def test_the_witnesses_import_nothing_that_they_judge() -> None:
    ours = "('orchestrator', 'agents', 'common', 'protos')"
    program = (
        "import sys, deploy.bench.client, deploy.bench.second_writer\n"
        f"print([name for name in sys.modules if name.split('.')[0] in {ours}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_a_poller_writes_beside_its_member_and_its_rows_are_found_again(
    postgres: PlainServer, tmp_path: Path
) -> None:
    postgres.query(CREATE_TABLE)
    path = tmp_path / "poller"
    command = [
        sys.executable, "-m", "deploy.bench.second_writer", "--member", "a",
        "--socket-directory", str(postgres.data.parent), "--port", str(postgres.port),
        "--user", "postgres", "--database", "postgres", "--journal", str(path),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        wait_for(lambda: len(read_pollers(lines_of(path))) >= 5)
    finally:
        process.terminate()
        process.wait(10)
    wrote = read_pollers(lines_of(path))
    there = frozenset(postgres.query("SELECT array_agg(n) FROM second_writer WHERE member = 'a'"))
    assert judge_pollers(wrote, {"a": there}) == []
    assert judge_pollers(wrote, {"a": there - {wrote[2].n}}) == [wrote[2]]
