"""WAL that a standby needed, and that is gone: slots that are lost, and where the primary's WAL begins (T31, T32)."""

from __future__ import annotations

import pytest

from agents.core.steps import MakeSlots, MeasureEnd
from common.lsn import Lsn
from tests.adapters.postgres.kit import Home

pytestmark = pytest.mark.real


@pytest.mark.covers("T31", "T32")
async def test_the_slot_of_a_member_that_is_away_too_long_is_lost_frees_its_wal_and_is_made_again(
    home: Home,
) -> None:
    settings = {
        "max_slot_wal_keep_size": "16MB",
        "wal_keep_size": "0",
        "max_wal_size": "32MB",
        "min_wal_size": "32MB",
        "dynamic_shared_memory_type": "mmap",
    }
    status = "select coalesce(wal_status, '') from pg_replication_slots where slot_name = 'b_1_e1'"
    async with home.member("a", settings=settings) as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        assert a.ask(status) == "reserved"
        await b.stop()
        for _ in range(6):
            a.ask("select pg_switch_wal()")
            a.ask("select pg_logical_emit_message(false, 'primacy', 'x')")
        a.ask("checkpoint")
        assert a.ask(status) == "lost"
        assert len([file for file in a.wal.iterdir() if len(file.name) == 24]) < 6  # it fills no disk
        await a.perform(MakeSlots(("b_1_e1",), 1))
        assert (
            a.ask(status) == ""
        )  # another one of that name, which holds nothing until somebody streams from it


@pytest.mark.covers("T32")
async def test_a_primary_says_where_the_wal_begins_that_it_can_still_send(home: Home) -> None:
    settings = {"wal_keep_size": "0", "max_wal_size": "32MB", "min_wal_size": "32MB"}
    segment_bytes = 16 << 20
    in_sql = "select min(substr(name, 9)) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'"
    async with home.member("a", settings=settings, oldest_wal_every_ms=0) as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        await b.stop()
        end_lsn = (await b.perform(MeasureEnd())).end_lsn
        a.ask("select pg_drop_replication_slot('b_1_e1')")
        for _ in range(6):
            a.ask("select pg_switch_wal()")
            a.ask("select pg_logical_emit_message(false, 'primacy', 'x')")
        a.ask("checkpoint")
        oldest = a.ask(in_sql)
        oldest_lsn = Lsn((int(oldest[:8], 16) << 32) + int(oldest[8:], 16) * segment_bytes)
        assert (await a.instance.measure()).oldest_lsn == oldest_lsn
        assert end_lsn < oldest_lsn
        assert (await b.instance.measure()).oldest_lsn == 0, "a standby says nothing of it"
