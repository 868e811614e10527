"""The periodic measurement for reports: everything of `Facts` that PostgreSQL and its disk know.

One SQL statement on a connection of its own, so that a recipe's statements and this one never wait for each
other. It reports what is there and never changes anything.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from agents.core.steps import StepFailed
from agents.postgres.lanes import Lane
from agents.postgres.look import is_anything_left, lsn, read_directory
from agents.postgres.oldest_wal import oldest_wal
from agents.postgres.processes import children
from agents.postgres.server import Server
from common.assignment import HistoryStep
from common.facts import Peer, PostgresState
from common.lsn import ZERO, Lsn
from common.timebase import Instant, elapsed_ms

_SPACE_WITHIN_MS = 300
_MEASURE = """
select s.recovering,
       case when s.recovering then pg_last_wal_receive_lsn() else pg_current_wal_flush_lsn() end::text,
       case when s.recovering then pg_last_wal_replay_lsn() end::text,
       case when s.recovering then null else pg_current_wal_insert_lsn() end::text,
       case when s.recovering then null else pg_walfile_name(pg_current_wal_lsn()) end,
       greatest(c.timeline_id, r.min_recovery_end_timeline, w.received_tli),
       current_setting('synchronous_standby_names'),
       case when s.recovering then pg_is_wal_replay_paused() else false end,
       w.status = 'streaming',
       (extract(epoch from clock_timestamp() - w.last_msg_receipt_time) * 1000)::bigint,
       case when s.recovering then null else
         (select array_agg(array[application_name, coalesce(state, ''), flush_lsn::text, reply_time::text]
                           order by application_name, pid) from pg_stat_replication) end
  from (select pg_is_in_recovery() as recovering) s
       cross join pg_control_checkpoint() c cross join pg_control_recovery() r
       left join pg_stat_wal_receiver w on true
"""


class PartialFacts(msgspec.Struct, frozen=True):
    """Field by field as in `common.facts.Facts`; the app adds what it knows itself."""

    postgres: PostgresState = PostgresState.UNKNOWN
    postmaster_alive: bool = False
    open: bool = False
    system_identifier: str = ""
    timeline: int = 0
    history: tuple[HistoryStep, ...] = ()
    flushed_lsn: Lsn = ZERO
    replayed_lsn: Lsn = ZERO
    insert_lsn: Lsn = ZERO
    rule_in_force: str | None = None
    peers: tuple[Peer, ...] = ()
    receiver_alive: bool = False
    received_age_ms: int | None = None
    upstream: str = ""
    free_mib: int | None = None
    replay_backlog_bytes: int = 0
    replay_paused: bool = False
    oldest_lsn: Lsn = ZERO
    postgres_version: int = 0
    answered: bool = False
    """SQL answered in time; otherwise the positions are the last ones known."""


class Measurement:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._space = Lane("space")
        self._folder = Lane("pg_wal")
        self._last = PartialFacts()
        self._replies: dict[str, tuple[str, Instant]] = {}
        self._oldest: tuple[Instant, Lsn] | None = None

    async def measure(self) -> PartialFacts:
        """Never raises: what can't be measured keeps its last value, with `answered` false."""
        try:
            self._last = await self._measure()
        except StepFailed:
            alive = self._server.alive
            self._last = _unanswered(self._last, alive)
        return self._last

    def close(self) -> None:
        self._space.close()
        self._folder.close()

    async def _measure(self) -> PartialFacts:
        server, config = self._server, self._server.config
        free_mib = await self.free_mib(within_ms=_SPACE_WITHIN_MS)
        directory = await server.read("looking at the data directory", partial(read_directory, server))
        version = server.version.number
        identity = directory.identity
        if directory.state is not None or identity is None:
            state = directory.state or PostgresState.UNKNOWN
            return PartialFacts(state, free_mib=free_mib, postgres_version=version, answered=True)
        upstream, is_open = directory.settings_upstream, directory.open
        postmaster = await server.find()
        if postmaster is None:
            left = await server.ask_kernel(partial(is_anything_left, config, directory.pid_file))
            control = await server.control_data()
            return PartialFacts(
                PostgresState.DYING if left else PostgresState.STOPPED,
                system_identifier=control.system_identifier,
                timeline=control.timeline,
                history=await server.history_of(control.timeline),
                free_mib=free_mib,
                postgres_version=version,
                answered=True,
            )
        status = "" if directory.pid_file is None else directory.pid_file.status
        if status != "ready":
            return PartialFacts(
                PostgresState.DYING if status == "stopping" else PostgresState.STARTING,
                postmaster_alive=True,
                open=is_open,
                system_identifier=identity.system_identifier,
                receiver_alive=self._has_receiver(postmaster.pid),
                upstream=upstream,
                free_mib=free_mib,
                postgres_version=version,
                answered=True,
            )
        row = await server.watching.row(_MEASURE, within_ms=config.sql_within_ms)
        recovering, flushed, replayed, insert, segment, timeline, rule, paused, streaming, age_ms, peers = row
        oldest_lsn = ZERO
        if recovering:
            self._oldest = None
        else:
            timeline = int(segment[:8], 16)
            server.saw_primary(Lsn.parse(insert), timeline)
            oldest_lsn = await self._oldest_lsn(Lsn.parse(insert), identity.segment_bytes)
        flushed_lsn, replayed_lsn = lsn(flushed) or ZERO, lsn(replayed) or ZERO
        return PartialFacts(
            PostgresState.STANDBY if recovering else PostgresState.PRIMARY,
            postmaster_alive=True,
            open=is_open,
            system_identifier=identity.system_identifier,
            timeline=timeline,
            history=await server.history_of(timeline),
            flushed_lsn=flushed_lsn,
            replayed_lsn=replayed_lsn,
            insert_lsn=lsn(insert) or ZERO,
            rule_in_force=rule,
            peers=self._peers(peers or []),
            receiver_alive=bool(streaming),
            received_age_ms=None if age_ms is None else max(0, age_ms),
            upstream=upstream if recovering else "",
            free_mib=free_mib,
            replay_backlog_bytes=max(0, flushed_lsn - replayed_lsn) if recovering else 0,
            replay_paused=paused,
            oldest_lsn=oldest_lsn,
            postgres_version=version,
            answered=True,
        )

    async def _oldest_lsn(self, insert_lsn: Lsn, segment_bytes: int) -> Lsn:
        """Now and then, and not at once: a folder of thousands of segments may be read for it, it matters to those alone
        who come back after long, and a new primary has better things to do.

        On a lane of its own: where a file is being made in that folder on a disk that hangs, so does whoever lists it, and
        everything else that is measured would wait behind."""
        config, now = self._server.config, self._server.clock.now()
        if self._oldest is None:
            self._oldest = now, ZERO
        if elapsed_ms(since=self._oldest[0], now=now) >= config.oldest_wal_every_ms:
            look = partial(oldest_wal, config.wal_directory, insert_lsn, segment_bytes)
            try:
                self._oldest = (
                    now,
                    await self._folder.run("looking for the oldest WAL", _SPACE_WITHIN_MS, look),
                )
            except StepFailed:
                self._oldest = now, self._oldest[1]  # it can only be more by now
        return self._oldest[1]

    def _has_receiver(self, postmaster_pid: int) -> bool:
        return any(child.is_receiver for child in children(postmaster_pid, self._server.config.title))

    def _peers(self, rows: list[Any]) -> tuple[Peer, ...]:
        """`reply_time` is of the standby's clock, so the age counts from when we saw it change."""
        now = self._server.clock.now()
        replies: dict[str, tuple[str, Instant]] = {}
        peers = []
        for name, state, flushed, reply_time in rows:
            known = self._replies.get(name)
            fresh = known is None or known[0] != (reply_time or "")
            replies[name] = (reply_time or "", now) if fresh or known is None else known
            age_ms = elapsed_ms(since=replies[name][1], now=now)
            peers.append(Peer(name, state, lsn(flushed) or ZERO, age_ms))
        self._replies = replies
        return tuple(peers)

    async def free_mib(self, *, within_ms: int) -> int | None:
        """A dead disk blocks statvfs for ever: its own lane, and a short deadline."""
        path = self._server.config.data_directory
        try:
            space = await self._space.run("free space", within_ms, lambda: os.statvfs(path))
        except StepFailed:
            return None
        return space.f_bavail * space.f_frsize >> 20


def _unanswered(last: PartialFacts, alive: bool) -> PartialFacts:
    state = last.postgres
    if not alive and state in (PostgresState.PRIMARY, PostgresState.STANDBY, PostgresState.STARTING):
        state = PostgresState.DYING
    elif alive and state not in (PostgresState.PRIMARY, PostgresState.STANDBY, PostgresState.DYING):
        state = PostgresState.STARTING
    return replace(last, postgres=state, postmaster_alive=alive, answered=False)
