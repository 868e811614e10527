"""The port on real servers: the adapter of `agents/postgres` for the steps, the kernel's signals for the faults."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from agents.core import steps as st
from agents.postgres.histories import history_path
from agents.postgres.postmaster import read_pid_file, spawn
from agents.postgres.processes import is_stopped
from agents.postgres.programs import run_program
from agents.postgres.service_file import address
from common.assignment import Upstream
from common.facts import PostgresState
from common.lsn import Lsn
from tests.adapters.postgres.kit import Home, Member, eventually
from tests.contract.postgres.hand_standby import RealHand
from tests.contract.postgres.port import Answer, Commit, HandStandby, Orphan, Refused, Server

_PATIENCE_S = 15.0
_A_WHILE_S = 0.4
"""Four times wal_retrieve_retry_interval, and twenty times what a commit takes."""
_LOOK_EVERY_S = 0.002
_READY = "ready"
_OF_THE_REPLICATION_ROLE = "replication:secret"
_INSERT = "insert into t values (%d)"
_WAITS = "select wait_event = 'SyncRep' from pg_stat_activity where pid = %s"
_BUSY_UNTIL = "do $$ begin while (pg_stat_file('%s', true)).size is null loop end loop; end $$; "
"""A loop that waits for nothing, so that its backend does not see the postmaster's death."""


class RealCommit(Commit):
    def __init__(self, server: RealServer, connection: psycopg.AsyncConnection[Any], statement: str) -> None:
        self._server, self._connection = server, connection
        self._notices: list[str] = []
        connection.add_notice_handler(lambda notice: self._notices.append(notice.severity_nonlocalized or ""))
        self._pid = connection.info.backend_pid
        self._work = asyncio.ensure_future(connection.execute(statement.encode()))

    def answer(self) -> Answer:
        if not self._work.done():
            return Answer.WAITS
        if self._work.exception() is not None:
            return Answer.LOST
        return Answer.WARNED if "WARNING" in self._notices else Answer.ACKNOWLEDGED

    async def seen_waiting(self) -> bool:
        async def seen() -> bool:
            return self._work.done() or self._server.member.ask(_WAITS, self._pid) is True

        await self._server.holds(seen)
        return not self._work.done()

    async def outcome(self) -> Answer:
        return await self._within(_PATIENCE_S)

    async def after_a_while(self) -> Answer:
        return await self._within(_A_WHILE_S)

    async def cancel(self) -> Answer:
        self._server.member.ask("select pg_cancel_backend(%s)", self._pid)
        return await self.outcome()

    async def terminate(self) -> Answer:
        self._server.member.ask("select pg_terminate_backend(%s)", self._pid)
        return await self.outcome()

    async def close(self) -> None:
        """Cut off, not cancelled: a server that stands still would not answer that."""
        self._connection.pgconn.finish()
        self._work.cancel()
        with suppress(asyncio.CancelledError, psycopg.Error):
            await self._work

    async def _within(self, seconds: float) -> Answer:
        await asyncio.wait({self._work}, timeout=seconds)
        return self.answer()


class RealOrphan(Orphan):
    def __init__(self, server: RealServer, commit: RealCommit, gate: Path) -> None:
        self._server, self._commit, self._gate = server, commit, gate

    async def goes_on(self) -> Answer:
        self._gate.touch()
        answer = await self._commit.outcome()
        await eventually(lambda: not self._server.member.pids())
        return answer


class RealServer(Server):
    def __init__(self, member: Member) -> None:
        self.member = member
        self.name = member.config.member
        self._commits: list[RealCommit] = []
        self._hands: list[RealHand] = []
        self._stopped: dict[str, int] = {}

    async def close(self) -> None:
        for commit in self._commits:
            await commit.close()
        for hand in self._hands:
            await hand.close()

    async def holds(self, condition: Callable[[], Awaitable[bool]], *, for_a_while: bool = False) -> bool:
        try:
            async with asyncio.timeout(_A_WHILE_S if for_a_while else _PATIENCE_S):
                while True:
                    with suppress(psycopg.Error):
                        if await condition():
                            return True
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            return False

    # What an agent does

    async def perform(self, step: st.Step) -> st.Outcome:
        return await self.member.perform(step)

    @property
    def upstream(self) -> Upstream:
        return self.member.upstream

    async def has_table(self) -> None:
        self.member.ask("set synchronous_commit = local; create table if not exists t (i int)")

    # What clients do and see

    async def insert(self, row: int) -> Commit:
        return await self._begin(_INSERT % row)

    async def _begin(self, statement: str) -> RealCommit:
        connection = await psycopg.AsyncConnection.connect(
            host=str(self.member.config.socket_directory),
            port=self.member.config.port,
            user="postgres",
            dbname="postgres",
            autocommit=True,
        )
        self._commits.append(RealCommit(self, connection, statement))
        return self._commits[-1]

    async def write_much(self) -> None:
        self._emit(400_000)

    async def write_some(self) -> None:
        self._emit(40_000)

    def _emit(self, length: int) -> None:
        self.member.ask(
            f"set synchronous_commit = local; select pg_logical_emit_message(true, 'test', repeat('x', {length}))"
        )

    async def rows(self) -> frozenset[int]:
        try:
            with self.member.connect(connect_timeout=5) as connection:
                return frozenset(int(row[0]) for row in connection.execute("select i from t"))
        except psycopg.Error:
            return frozenset()

    # Looks

    async def position(self) -> int:
        return Lsn.parse(self.member.ask("select pg_current_wal_flush_lsn()::text"))

    async def has_received(self, position: int) -> bool:
        received = "select coalesce(pg_last_wal_receive_lsn(), '0/0')::text"

        async def seen() -> bool:
            return Lsn.parse(self.member.ask(received)) >= Lsn(position)

        return await self.holds(seen)

    async def has_receiver(self) -> bool:
        return any(title.startswith("walreceiver") for title in self.member.child_titles())

    async def has_slot(self, name: str) -> bool:
        found = "select count(*) from pg_replication_slots where slot_name = %s"
        return bool(self.member.ask(found, name) == 1)

    async def has_standby_signal(self) -> bool:
        return (self.member.data / "standby.signal").exists()

    async def lets_a_new_session_in(self) -> bool:
        try:
            self.member.connect(connect_timeout=5).close()
        except psycopg.Error:
            return False
        return True

    # What is done to it

    async def kill_all(self) -> None:
        self.member.kill()

    async def leave_orphan(self, row: int) -> Orphan:
        gate = self.member.data / "gate"
        commit = await self._begin(_BUSY_UNTIL % gate + _INSERT % row)
        busy = (
            "select count(*) from pg_stat_activity where state = 'active' and query like 'do $$ begin while%'"
        )
        await eventually(lambda: self.member.ask(busy) == 1)
        postmaster = self.member.postmaster_pid
        os.kill(postmaster, signal.SIGKILL)
        # Its idle children end by themselves; the busy one alone is to be left.
        await eventually(lambda: len(self.member.pids()) == 1)
        return RealOrphan(self, commit, gate)

    async def start_as_it_lies(self) -> PostgresState:
        config = self.member.config
        postmaster = spawn(config)

        async def is_settled() -> bool:
            found = read_pid_file(config.data_directory)
            ready = found is not None and found.pid == postmaster.pid and found.status == _READY
            # A session of the adapter that the old postmaster had makes the first look in vain.
            return not postmaster.alive or (ready and await self.role() is not PostgresState.STARTING)

        assert await self.holds(is_settled), f"{self.name} neither starts nor refuses to"
        if not postmaster.alive:
            return PostgresState.STOPPED
        postmaster.let_go()
        return await self.role()

    async def freeze(self) -> None:
        self.member.signal_all(signal.SIGSTOP)

    async def thaw(self) -> None:
        self.member.signal_all(signal.SIGCONT)

    async def stall_checkpointer(self) -> None:
        found = "select pid from pg_stat_activity where backend_type = 'checkpointer'"
        await self._stall("the checkpointer", self.member.ask(found))

    async def go_on_checkpointer(self) -> None:
        os.kill(self._stopped.pop("the checkpointer"), signal.SIGCONT)

    async def stall_walsender(self, name: str) -> None:
        (pid,) = await self.walsenders(name)
        await self._stall(name, pid)

    async def go_on_walsender(self, name: str) -> None:
        os.kill(self._stopped.pop(name), signal.SIGCONT)

    async def _stall(self, what: str, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        self._stopped[what] = pid
        await eventually(lambda: is_stopped(pid))

    async def pause_replay(self) -> None:
        self.member.ask("select pg_wal_replay_pause()")
        await eventually(lambda: self.member.ask("select pg_get_wal_replay_pause_state()") == "paused")

    async def signal_promotion(self) -> None:
        self.member.ask("select pg_promote(false)")

    async def lose_histories(self, timelines: Iterable[int]) -> None:
        for timeline in timelines:
            history_path(self.member.wal, timeline).unlink()

    async def attach_by_hand(self, name: str, slot: str = "") -> HandStandby:
        already = await self.walsenders(name)
        where = f"host=127.0.0.1 port={self.member.config.port} user={self.member.config.replication_user}"
        conninfo = f"{where} password={_OF_THE_REPLICATION_ROLE} application_name={name} connect_timeout=5"
        start = await self.position()
        timeline = (await self._sight()).timeline
        self._hands.append(RealHand.connected(conninfo, slot=slot, start=start, timeline=timeline))

        async def streams() -> bool:
            return bool(await self.walsenders(name) - already)

        if not await self.holds(streams):
            raise Refused(f"{name} does not stream")
        return self._hands[-1]

    async def _sight(self) -> st.Sight:
        sight = await self.perform(st.Look())
        assert isinstance(sight, st.Sight)
        return sight

    async def rewind(self, source: Server) -> bool:
        """By what it leaves, not by what it says: its words differ between versions."""
        assert isinstance(source, RealServer)
        config = self.member.config
        where = " ".join(f"{name}={value}" for name, value in address(config, source.upstream).items())
        source_server = ["--source-server", f"{where} dbname=postgres"]
        await run_program(
            config,
            "pg_rewind",
            ["-D", config.data_directory, *source_server, "--no-ensure-shutdown"],
            config.rewind_silent_ms,
        )
        found = (config.data_directory / "backup_label").exists()
        if found:
            await self.member.mark()
        return found


@asynccontextmanager
async def real_servers(home: Home, names: str) -> AsyncIterator[dict[str, RealServer]]:
    async with AsyncExitStack() as stack:
        servers: dict[str, RealServer] = {}
        for name in names:
            server = RealServer(await stack.enter_async_context(home.member(name)))
            stack.push_async_callback(server.close)
            servers[name] = server
        yield servers
