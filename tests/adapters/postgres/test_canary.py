"""The canary's client on real PostgreSQL, under a name of our own answerer: what it counts, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from agents.core.steps import Open, WriteSettings
from agents.postgres.canary import SESSIONS_MAX
from common.clock import BootClock
from common.codec import decode, encode
from common.ids import ClusterName
from common.timebase import Instant, elapsed_ms
from orchestrator.config import AnswererConfig
from orchestrator.core.gaps import PERIOD_MS
from orchestrator.core.names import WantedNames
from orchestrator.egress.canary_process import CanaryProcess, Line, Order
from orchestrator.egress.canary_writer import name_servers_to_ask
from orchestrator.egress.dns_answerer import Answerer
from orchestrator.egress.dns_authority import AnsweredZone, NameTable
from orchestrator.egress.dns_key import ServerAddress
from orchestrator.ports import CanaryTarget
from tests.adapters.postgres.kit import SOLO, Home, Member, eventually, free_port

pytestmark = pytest.mark.real

ZONE = "db.test"
PASSWORD = "canary:secret"
SLACK_MS = 60
NOBODY_ACKNOWLEDGES = 'ANY 1 ("nobody.1@1")'


@dataclass
class Ear:
    """Keeps all that it hears."""

    at: list[Instant] = field(default_factory=list)
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    def acknowledged(self, at: Instant, begun_at: Instant, stalled_us: int) -> None:
        self.at.append(at)

    def failed(self, what: str, outcome: str, turned_away_at: Instant, text: str, stalled_us: int) -> None:
        self.failures.append((what, outcome, text))

    async def hears(self, more: int = 5) -> None:
        until = len(self.at) + more
        async with asyncio.timeout(10):
            while len(self.at) < until:
                await asyncio.sleep(0.002)

    async def fails(self, more: int = 3) -> None:
        until = len(self.failures) + more
        async with asyncio.timeout(10):
            while len(self.failures) < until:
                await asyncio.sleep(0.002)

    def longest_ms(self) -> int:
        return max(
            elapsed_ms(since=before, now=after) for before, after in zip(self.at, self.at[1:], strict=False)
        )


@dataclass
class Names:
    """The name of the cluster, and who is said under it."""

    table: NameTable = field(default_factory=NameTable)
    port: int = field(default_factory=free_port)
    revision: int = 0

    def say(self, member: Member) -> None:
        self.revision += 1
        addresses = (member.config.listen_addresses,)
        self.table.publish(WantedNames("main", ZONE, 1, self.revision, addresses, ()))


@asynccontextmanager
async def canary(names: Names, *members: Member) -> AsyncIterator[Ear]:
    port = names.port
    answerer = Answerer(
        [ServerAddress("127.0.0.1", port)], [AnsweredZone(ZONE, {f"ns1.{ZONE}": ("127.0.0.1",)})], names.table
    )
    writer = CanaryProcess(
        user="primacy_canary",
        password=PASSWORD,
        name_servers=name_servers_to_ask([AnswererConfig(f"{ZONE}.", "127.0.0.1", port)]),
    )
    target = CanaryTarget(
        ClusterName("main"),
        f"primary.main.{ZONE}.",
        ZONE,
        5432,
        {member.config.listen_addresses: member.config.port for member in members},
    )
    ear = Ear()
    async with answerer.serving(), asyncio.TaskGroup() as group:
        running = group.create_task(writer.run(target, ear))
        yield ear
        running.cancel()


@asynccontextmanager
async def primary(
    home: Home, name: str = "a", address: str = "127.0.0.1", **changes: object
) -> AsyncIterator[Member]:
    """Open, with a role and a table for the canary."""
    password_file: Path = home.path / f"{name}-canary.password"
    password_file.write_text(PASSWORD)
    password_file.chmod(0o600)
    changes = {"canary_password_file": password_file, "listen_addresses": address, **changes}
    async with home.member(name, empty=False, **changes) as member:
        await member.serve()
        await member.perform(Open())
        yield member


def sessions(member: Member) -> int:
    return int(member.ask("select count(*) from pg_stat_activity where usename = 'primacy_canary'"))


async def test_it_writes_every_20_ms_over_one_connection_and_the_table_does_not_grow(home: Home) -> None:
    async with primary(home) as a:
        names = Names()
        names.say(a)
        async with canary(names, a) as ear:
            await ear.hears(100)
            took_ms = elapsed_ms(since=ear.at[0], now=ear.at[99])
            assert 99 * PERIOD_MS - SLACK_MS <= took_ms <= 99 * PERIOD_MS + 10 * SLACK_MS
            assert ear.failures == []
            assert sessions(a) == 1
            assert a.ask("select count(*) from primacy.canary") == 1
            assert a.ask("select pg_relation_size('primacy.canary')") == 8192
        await eventually(lambda: sessions(a) == 0)


async def test_closed_shuts_the_canary_out_like_any_client(home: Home) -> None:
    async with primary(home) as a:
        names = Names()
        names.say(a)
        await a.perform(WriteSettings(SOLO, closed=True))
        async with canary(names, a) as ear:
            await ear.fails()
            assert ear.at == []
            assert "no pg_hba.conf entry" in ear.failures[-1][2]
            await a.perform(Open())
            await ear.hears()


async def test_an_outage_is_seen_as_long_as_it_is(home: Home) -> None:
    async with primary(home) as a:
        names = Names()
        names.say(a)
        async with canary(names, a) as ear:
            await ear.hears()
            before = BootClock().now()
            await a.perform(WriteSettings(SOLO, closed=True))
            a.ask("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'primacy_canary'")
            await asyncio.sleep(0.7)
            await a.perform(Open())
            lasted_ms = elapsed_ms(since=before, now=BootClock().now())
            await ear.hears()
            over_ms = elapsed_ms(since=before, now=BootClock().now())
            assert lasted_ms - SLACK_MS <= ear.longest_ms() <= over_ms + PERIOD_MS
            assert {what for what, _, _ in ear.failures} == {"write", "connect"}


async def test_commits_that_wait_for_the_standbys_are_no_acknowledgements_and_keep_few_sessions(
    home: Home,
) -> None:
    async with primary(home) as a:
        names = Names()
        names.say(a)
        async with canary(names, a) as ear:
            await ear.hears()
            await a.perform(WriteSettings(NOBODY_ACKNOWLEDGES, closed=None))
            await ear.fails(8)
            heard = len(ear.at)
            await ear.fails(3)
            assert len(ear.at) == heard
            assert sessions(a) <= 3 <= SESSIONS_MAX, "that one, the canary's own, and one that is just ending"
            waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
            assert a.ask(waiting) == 1, "only the first one: the others wait for its row, and not for long"
            before = BootClock().now()
            await a.perform(WriteSettings(SOLO, closed=None))
            await ear.hears(1)
            assert elapsed_ms(since=before, now=ear.at[heard]) < 300 + SLACK_MS
            await eventually(lambda: sessions(a) == 1)


async def test_a_commit_whose_wait_was_cancelled_is_answered_with_a_warning_and_does_not_count(
    home: Home,
) -> None:
    async with primary(home) as a:
        names = Names()
        names.say(a)
        async with canary(names, a) as ear:
            await ear.hears()
            await a.perform(WriteSettings(NOBODY_ACKNOWLEDGES, closed=None))
            waits = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
            await eventually(lambda: a.ask(waits) == 1)
            heard = len(ear.at)
            a.ask("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
            await ear.fails(1)
            assert len(ear.at) == heard
            assert any("warning" in text for _, outcome, text in ear.failures if outcome == "unknown")


async def test_it_leaves_a_silent_address_as_soon_as_the_name_says_another_one(home: Home) -> None:
    """The old primary's kernel takes connections and its PostgreSQL is frozen: a client's deadline is 300 ms."""
    async with primary(home) as a, primary(home, "b", "127.0.0.2") as b:
        names = Names()
        names.say(a)
        async with canary(names, a, b) as ear:
            await ear.hears()
            a.signal_all(signal.SIGSTOP)
            await ear.fails(2)
            await asyncio.sleep(0.08)  # in the middle of an attempt
            heard, moved_at = len(ear.at), BootClock().now()
            names.say(b)
            await ear.hears()
            assert "moved" in {outcome for _, outcome, _ in ear.failures}
            assert elapsed_ms(since=moved_at, now=ear.at[heard]) <= 2 * PERIOD_MS + 3 * SLACK_MS


@contextmanager
def lost_host() -> Iterator[int]:
    """A port of a kernel that answers nobody who wants to connect: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def connecting_to(port: int) -> int:
    """Sockets that still try (proc_net_tcp.txt: SYN_SENT is 02)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[3] == "02" and row[2].endswith(f":{port:04X}") for row in rows)


async def test_a_connection_that_is_given_up_is_closed_and_not_made_once_the_host_is_back(home: Home) -> None:
    """Its kernel tries on for two minutes, and what is connected then says nothing: a PostgreSQL that starts
    or stops just then waited a minute for it."""
    with lost_host() as port:
        others = connecting_to(port)
        async with home.member("a", empty=True, port=port) as a:
            names = Names()
            names.say(a)
            async with canary(names, a) as ear:
                await ear.fails(8)
                assert connecting_to(port) - others <= 1, "the one that is just tried"


async def test_a_name_server_that_is_away_is_no_end_of_a_connection_that_works(home: Home) -> None:
    async with primary(home) as a:
        names = Names()
        names.say(a)
        async with canary(names, a) as ear:
            await ear.hears()
            names.table.publish(WantedNames("main", ZONE, 1, 99, ("127.0.0.9",), ()))
            await ear.hears(20)
            assert ear.failures == [], "the name is asked when an answer is late, and not before"


async def test_without_a_password_file_the_agent_makes_nothing(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        assert a.ask("select count(*) from pg_roles where rolname = 'primacy_canary'") == 0
        assert a.ask("select to_regclass('primacy.canary') is null")


async def test_its_role_may_change_one_number_and_nothing_else(home: Home) -> None:
    async with primary(home) as a:
        with psycopg.connect(
            host="127.0.0.1",
            port=a.config.port,
            user="primacy_canary",
            password=PASSWORD,
            dbname="postgres",
            autocommit=True,
        ) as session:
            session.execute("update primacy.canary set n = 5")
            for forbidden in (
                "select n from primacy.canary",
                "delete from primacy.canary",
                "insert into primacy.canary values (true, 1)",
                "create table primacy.more (n int)",
                "checkpoint",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(forbidden.encode())


def children_of_ours() -> set[int]:
    """A lab beside this test has some of its own."""
    found = set[int]()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
            stat = (path.parent / "stat").read_text()
        except OSError:
            continue
        is_ours = int(stat.rpartition(")")[2].split()[1]) == os.getpid()
        if is_ours and b"orchestrator.egress.canary_child" in words:
            found.add(int(path.parent.name))
    return found


async def test_its_process_ends_with_whoever_began_it_and_another_one_may_be_begun(home: Home) -> None:
    before = children_of_ours()
    async with primary(home) as a:
        names = Names()
        names.say(a)
        for _ in range(2):
            async with canary(names, a) as ear:
                await ear.hears()
                assert len(children_of_ours() - before) == 1
            assert children_of_ours() - before == set()


async def test_a_process_whose_leader_is_gone_ends_by_itself(home: Home) -> None:
    order = Order(CanaryTarget(ClusterName("main"), "primary.main.db.test.", ZONE, 5432, {}), "u", "p", ())
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orchestrator.egress.canary_child",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(encode(order) + b"\n")
    said = decode(await child.stdout.readline(), Line)
    assert (said.what, said.outcome) == ("connect", "failed")
    assert "no name server of db.test" in said.text
    child.stdin.close()
    async with asyncio.timeout(10):
        assert await child.wait() == 0
