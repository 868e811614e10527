"""How a member seals on real PostgreSQL (protocol.md, R1; V6 to V8)."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from agents.core.lineage import is_damaged
from agents.core.steps import (
    EndClients,
    EndOfWal,
    EndReceivers,
    MeasureEnd,
    Reached,
    StartStandby,
    StopPostgres,
    WriteSettings,
)
from agents.postgres.wal_end import find_end
from common.assignment import Position
from common.facts import PostgresState
from common.lsn import Lsn
from common.rule import FENCE
from tests.adapters.postgres.kit import Home, Member, eventually, stop

pytestmark = [pytest.mark.real, pytest.mark.covers("R1")]


async def seal(member: Member) -> EndOfWal:
    """As `recipe_seal` does it for a standby, without the agent's own state."""
    await member.perform(WriteSettings(FENCE))
    await member.perform(EndReceivers())
    end = await member.perform(MeasureEnd())
    assert isinstance(end, EndOfWal)
    return end


async def test_a_sealed_standby_has_everything_that_it_reported_as_flushed(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        a.ask("create table t as select generate_series(1, 1000) as i")
        await eventually(lambda: b.has_received(a))
        begun_at = time.monotonic()
        end = await seal(b)
        took_ms = (time.monotonic() - begun_at) * 1000
        assert end.flushed_lsn is not None
        assert end.end_lsn >= end.flushed_lsn
        assert (end.timeline, end.next_record_would_end_lsn) == (1, None)
        assert took_ms < 1000
        assert await b.perform(Reached(Position(1, end.end_lsn)))
        assert not await b.perform(Reached(Position(1, Lsn(end.end_lsn + 1))))


async def test_nothing_enters_a_sealed_standby_any_more(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        end = await seal(b)
        a.ask("create table t (i int)")
        # Several times the interval at which a standby tries again to reach its upstream.
        await asyncio.sleep(0.4)
        assert not b.streams("b.1@1")
        assert await b.perform(MeasureEnd()) == end
        sight = await b.look()
        assert (sight.settings_rule, sight.settings_upstream) == (FENCE, "")
        assert not any(title.startswith("walreceiver") for title in b.child_titles())


@pytest.mark.covers("T11")
async def test_a_standby_whose_replay_is_paused_seals(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        b.ask("select pg_wal_replay_pause()")
        await eventually(lambda: b.ask("select pg_get_wal_replay_pause_state()") == "paused")
        a.ask("create table t as select generate_series(1, 10000) as i")
        await eventually(lambda: b.has_received(a))
        end = await seal(b)
        assert end.flushed_lsn is not None
        assert end.end_lsn >= end.flushed_lsn
        assert end.end_lsn > Lsn.parse(b.ask("select pg_last_wal_replay_lsn()::text"))
        assert (await b.instance.measure()).replay_paused
        await b.perform(EndClients())
        await eventually(lambda: b.ask("select count(*) from t") == 10000)


@pytest.mark.covers("T37", "T39")
async def test_a_standby_seals_although_its_primary_is_frozen(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        a.ask("create table t (i int)")
        await eventually(lambda: b.has_received(a))  # a receiver that got nothing yet knows of no flush
        a.signal_all(signal.SIGSTOP)
        end = await seal(b)
        assert end.flushed_lsn is not None
        # Its last record may have come in halves: then the end is torn, which is no damage (V6).
        assert not is_damaged(end, end.flushed_lsn)


async def test_a_frozen_receiver_does_not_stop_a_seal(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        receiver = b.ask("select pid from pg_stat_wal_receiver")
        os.kill(receiver, signal.SIGSTOP)
        await b.perform(WriteSettings(FENCE))
        await b.perform(EndReceivers())
        # Killing it took PostgreSQL down, which seals as well: the end is measured standing still.
        await b.perform(StopPostgres())
        end = await b.perform(MeasureEnd())
        assert end.flushed_lsn is None


async def test_a_client_that_connected_and_says_nothing_does_not_stop_a_seal(home: Home) -> None:
    """Its host was cut off then (chaos, a whole site lost): the backend waits a minute for its first packet, and has no
    title as long, as a receiver that was just forked has none."""
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        with socket.create_connection(("127.0.0.1", b.upstream.port)) as silent:
            await eventually(lambda: "" in b.child_titles())
            await seal(b)
            assert "" not in b.child_titles()
            assert silent.recv(1) == b""
        assert (await b.look()).postgres is PostgresState.STANDBY


async def test_a_receiver_started_after_the_withdrawal_finds_no_address(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        # Replay is paused, so the startup process keeps its old conninfo and starts receivers for ever.
        b.ask("select pg_wal_replay_pause()")
        await eventually(lambda: b.ask("select pg_get_wal_replay_pause_state()") == "paused")
        await seal(b)
        await asyncio.sleep(0.4)
        assert a.ask("select count(*) from pg_stat_replication") == 0


async def test_a_primary_seals_by_stopping_and_its_end_is_the_end_of_the_shutdown_record(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        a.ask("create table t as select generate_series(1, 1000) as i")
        outcome = await a.perform(stop())
        assert outcome.clean
        end = await a.perform(MeasureEnd())
        assert end.flushed_lsn is None
        last = waldump_last(a, end.end_lsn)
        assert "CHECKPOINT_SHUTDOWN" in last
        # Drained: the standby has all of it (E17).
        assert (await seal(b)).end_lsn == end.end_lsn


@pytest.mark.covers("T52")
async def test_the_end_of_a_crashed_primary_agrees_with_pg_waldump(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        a.ask("create table t as select i, repeat('x', i % 500) from generate_series(1, 20000) i")
        a.ask("select pg_switch_wal()")
        a.ask("insert into t select i, repeat('y', 9000) from generate_series(1, 50) i")
        flushed_lsn = Lsn.parse(a.ask("select pg_current_wal_flush_lsn()::text"))
        a.kill()
        await a.perform(StopPostgres())
        end = await a.perform(MeasureEnd())
        assert end.end_lsn >= flushed_lsn
        assert waldump_end(a) == end.end_lsn


async def test_a_torn_last_record_is_told_from_a_damaged_one(home: Home) -> None:
    async with home.member("a") as a:
        await a.serve()
        a.ask("create table t (i text)")
        before = Lsn.parse(a.ask("select pg_current_wal_insert_lsn()::text"))
        # One record of many pages; and then the same amount of nothing, as after a torn write.
        a.ask("select pg_logical_emit_message(false, 'test', repeat('x', 100000))")
        a.ask("create table u (i text)")
        after = Lsn.parse(a.ask("select pg_current_wal_insert_lsn()::text"))
        a.kill()
        await a.perform(StopPostgres())
        segment = a.wal / a_segment(before)
        whole = segment.read_bytes()

        overwrite(segment, before % len(whole) + 20_000, bytes(len(whole) - before % len(whole) - 20_000))
        torn = await a.perform(MeasureEnd())
        assert before <= torn.end_lsn < before + 1000
        assert torn.next_record_would_end_lsn is not None
        assert not is_damaged(torn, Lsn(torn.end_lsn + 20_000))

        overwrite(segment, 0, whole)
        flipped = bytes([whole[before % len(whole) + 50_000] ^ 1])
        overwrite(segment, before % len(whole) + 50_000, flipped)
        damaged = await a.perform(MeasureEnd())
        assert damaged.end_lsn == torn.end_lsn
        assert damaged.next_record_would_end_lsn is not None
        assert damaged.next_record_would_end_lsn <= after
        assert is_damaged(damaged, after)


async def test_the_end_is_found_past_a_record_that_a_restart_gave_up(home: Home) -> None:
    """A record torn across a page is overwritten at the restart, and the log goes on after it."""
    async with home.member("a") as a:
        await a.serve()
        before = Lsn.parse(a.ask("select pg_current_wal_insert_lsn()::text"))
        a.ask("select pg_logical_emit_message(true, 'test', repeat('x', 100000))")
        a.kill()
        await a.perform(StopPostgres())
        segment = a.wal / a_segment(before)
        size = segment.stat().st_size
        overwrite(segment, before % size + 20_000, bytes(size - before % size - 20_000))
        await a.serve()
        a.ask("create table t (i int)")
        flushed_lsn = Lsn.parse(a.ask("select pg_current_wal_flush_lsn()::text"))
        # Not from the new checkpoint on, but over the record that was given up.
        end = find_end(a.wal, start_lsn=before, timeline=1, segment_bytes=size, system_identifier="")
        assert end.end_lsn >= flushed_lsn
        assert end.records > 0


async def test_a_sealed_standby_that_is_restarted_has_no_upper_bound_but_the_same_end(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        a.ask("create table t as select generate_series(1, 1000) as i")
        await eventually(lambda: b.has_received(a))
        end = await seal(b)
        b.kill()
        await b.perform(StopPostgres())
        stopped = await b.perform(MeasureEnd())
        assert (stopped.end_lsn, stopped.flushed_lsn) == (end.end_lsn, None)
        await b.perform(StartStandby())
        assert (await b.look()).postgres is PostgresState.STANDBY
        again = await b.perform(MeasureEnd())
        assert (again.end_lsn, again.flushed_lsn) == (end.end_lsn, None)


def a_segment(lsn: Lsn, timeline: int = 1, size: int = 16 << 20) -> str:
    number = lsn // size
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


def overwrite(path: object, at: int, data: bytes) -> None:
    with open(str(path), "r+b") as file:
        file.seek(at)
        file.write(data)


def waldump(member: Member, start: Lsn) -> tuple[list[str], str]:
    done = subprocess.run(
        [member.config.bin_directory / "pg_waldump", "-p", member.wal, "-s", str(start)],
        capture_output=True,
        text=True,
        env={"LC_ALL": "C"},
    )
    return done.stdout.splitlines(), done.stderr


def waldump_end(member: Member) -> Lsn:
    """What pg_waldump says on stopping: `... at X/X`, where it found no further record."""
    control = subprocess.run(
        [member.config.bin_directory / "pg_controldata", "-D", member.data],
        capture_output=True,
        text=True,
        env={"LC_ALL": "C"},
    )
    redo = next(line for line in control.stdout.splitlines() if "REDO location" in line).split()[-1]
    _, said = waldump(member, Lsn.parse(redo))
    return Lsn.parse(re.findall(r" at ([0-9A-F]+/[0-9A-F]+)", said)[-1])


def waldump_last(member: Member, end: Lsn) -> str:
    lines, _ = waldump(member, Lsn(end - end % 8192 - 8192 if end % 8192 < 200 else end - end % 8192))
    return lines[-1]


async def test_a_whole_record_of_other_wal_behind_the_end_is_not_taken_for_more(home: Home) -> None:
    """A promotion fills the rest of its first segment with copies of the last page, and a rewind takes that file
    along: a whole record with a right checksum may lie exactly where the next one would begin."""
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        a.ask("create table t as select generate_series(1, 1000) as i")
        a.ask("select pg_logical_emit_message(true, 'test', 'stale')")
        await eventually(lambda: b.has_replayed(a))
        end = await seal(b)
        segment = b.wal / a_segment(Lsn(end.end_lsn - 1))
        content = segment.read_bytes()
        at, length = last_record(b, segment)
        inside = end.end_lsn % len(content)
        overwrite(segment, inside, content[at % len(content) : at % len(content) + length])
        again = await b.perform(MeasureEnd())
        assert again.end_lsn == end.end_lsn
        assert not await b.perform(Reached(Position(1, Lsn(end.end_lsn + 8))))


def last_record(member: Member, segment: Path) -> tuple[int, int]:
    """(where it begins, its length) by pg_waldump's word."""
    program = member.config.bin_directory / "pg_waldump"
    said = subprocess.run([program, segment], capture_output=True, text=True, check=False).stdout
    length, lsn = re.findall(r"len \(rec/tot\): +\d+/ *(\d+),.*?lsn: ([0-9A-F]+/[0-9A-F]+)", said)[-1]
    return Lsn.parse(lsn), int(length)
