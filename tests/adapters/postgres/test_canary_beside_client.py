"""The canary beside the reference client: one outage, two accounts, not further apart than the bound of the lab."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from common.timebase import elapsed_ms
from deploy.bench.verdict import outage_around, read_journal
from deploy.bench.wire import now_us
from tests.adapters.postgres.kit import Home, Member, free_port
from tests.adapters.postgres.test_canary import ZONE, Names, canary, primary
from tests.chaos.canary import WITHIN_MS, Said, Seen, apart_ms, bounds_ms

pytestmark = [pytest.mark.real, pytest.mark.slow]

AWAY_S = 0.8


def make_client_s_table(*members: Member) -> None:
    for member in members:
        member.ask("create role app login password 'app'")
        member.ask("create table reference_client (n bigint primary key)")
        member.ask("grant all on reference_client to app")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_both_see_the_same_outage_when_the_name_moves(home: Home, how: signal.Signals) -> None:
    port = free_port()
    async with primary(home, port=port) as a, primary(home, "b", "127.0.0.2", port=port) as b:
        make_client_s_table(a, b)
        names = Names()
        names.say(a)
        password, journal = home.path / "app.password", home.path / "client.jsonl"
        password.write_text("app")
        async with canary(names, a, b) as ear:
            await ear.hears()
            client = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "deploy.bench.client", "--name", f"primary.main.{ZONE}",
                "--name-server", f"127.0.0.1:{names.port}", "--port", str(port), "--user", "app",
                "--database", "postgres", "--password-file", str(password), "--journal", str(journal),
                stdout=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            async with asyncio.timeout(20):
                while not journal.exists() or journal.read_text().count('"ack"') < 30:
                    await asyncio.sleep(0.05)
            fault_at_us = now_us()
            for pid in a.pids():
                os.kill(pid, how)
            await asyncio.sleep(AWAY_S)
            names.say(b)
            await ear.hears(30)
            await asyncio.sleep(0.3)
            client.send_signal(signal.SIGTERM)
            await client.wait()
    seen = _seen(journal, fault_at_us)
    said = Said(ear.longest_ms(), 20, at_least=False)
    print(f"the client {seen}, the canary {said}")
    assert apart_ms(said, seen) <= WITHIN_MS
    assert elapsed_ms(since=ear.at[0], now=ear.at[-1]) > AWAY_S * 1000


def _seen(journal: Path, fault_at_us: int) -> Seen:
    with journal.open() as lines:
        found = read_journal(lines)
    return bounds_ms(found, outage_around(found, fault_at_us))
