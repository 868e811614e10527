"""The leader's own look at a PostgreSQL: its answer, and above all how soon it comes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from common.clock import BootClock
from common.ids import ClusterName
from orchestrator.core.events import ProbeAnswer
from orchestrator.ingress.probe_sql import SqlProber
from tests.needs import not_run
from tests.orchestrator.control_node import free_ports

WITHIN_MS = 300
SLACK_MS = 700
"""Cutting a socket waits up to 200 ms; the rest is for a busy machine. A driver's cancel would take 10 s."""


@dataclass
class Postgres:
    data: Path
    bin: Path
    port: int
    user: str | None

    def run(self, *command: str) -> None:
        subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            check=True, capture_output=True, user=self.user, cwd="/",
        )  # fmt: skip

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self.run("pg_ctl", "-D", str(self.data), "-w", "-l", f"{self.data}.log", "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.data), "-w", "-m", "immediate", "stop")

    def everything(self, what: signal.Signals) -> None:
        postmaster = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        for process in (postmaster, *postmaster.children(recursive=True)):
            process.send_signal(what)


def programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else (Path(on_path).resolve().parent if on_path else None)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    where = programs()
    if where is None:
        not_run("PostgreSQL 15 to 18", get_it_by="apt-get install postgresql")
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="primacy-probe-", dir="/tmp"))
    if user is not None:
        shutil.chown(folder, user)
    made = Postgres(folder / "data", where, free_ports(1)[0], user)
    try:
        made.run("initdb", "-D", str(made.data), "-A", "trust", "-U", "primacy_probe", "-N")
        made.start()
        yield made
        made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def prober() -> AsyncIterator[SqlProber]:
    made = SqlProber(BootClock(), user="primacy_probe", password="x", database="postgres")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.run())
        yield made
        running.cancel()


async def timed(prober: SqlProber, port: int) -> tuple[ProbeAnswer, int]:
    began = time.monotonic()
    answer = await prober.probe("127.0.0.1", port, WITHIN_MS)
    return answer, round((time.monotonic() - began) * 1000)


@pytest.mark.real
async def test_a_primary_answers_over_a_connection_that_is_kept(
    postgres: Postgres, prober: SqlProber
) -> None:
    assert (await timed(prober, postgres.port))[0] is ProbeAnswer.PRIMARY
    place = prober._places["127.0.0.1", postgres.port]
    before = place.connection
    assert (await timed(prober, postgres.port))[0] is ProbeAnswer.PRIMARY
    assert place.connection is before


@pytest.mark.real
async def test_a_frozen_server_is_silent_and_costs_no_more_than_the_deadline(
    postgres: Postgres, prober: SqlProber
) -> None:
    await prober.probe("127.0.0.1", postgres.port, 5_000)
    postgres.everything(signal.SIGSTOP)
    try:
        warm, warm_ms = await timed(prober, postgres.port)
        cold, cold_ms = await timed(prober, postgres.port)
    finally:
        postgres.everything(signal.SIGCONT)
    assert (warm, cold) == (ProbeAnswer.SILENT, ProbeAnswer.SILENT)
    assert max(warm_ms, cold_ms) < WITHIN_MS + SLACK_MS
    assert await prober.probe("127.0.0.1", postgres.port, 5_000) is ProbeAnswer.PRIMARY


@pytest.mark.real
async def test_a_killed_server_refuses_at_once_over_the_warm_connection(
    postgres: Postgres, prober: SqlProber
) -> None:
    prober.keep_warm(ClusterName("shop"), "127.0.0.1", postgres.port)
    await prober.probe("127.0.0.1", postgres.port, 5_000)
    postgres.stop()
    try:
        answer, took_ms = await timed(prober, postgres.port)
    finally:
        postgres.start()
    assert answer is ProbeAnswer.REFUSED
    assert took_ms < WITHIN_MS + SLACK_MS


async def test_where_nobody_listens_the_answer_is_a_refusal(prober: SqlProber) -> None:
    (port,) = free_ports(1)
    assert (await timed(prober, port))[0] is ProbeAnswer.REFUSED


@pytest.mark.covers("T43", "T45")
async def test_whoever_accepts_and_says_nothing_is_silent_in_time(prober: SqlProber) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        answer, took_ms = await timed(prober, listening.getsockname()[1])
    assert answer is ProbeAnswer.SILENT
    assert took_ms < WITHIN_MS + SLACK_MS
