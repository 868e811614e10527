"""MakeSlots: the physical slots of an epoch (protocol.md, R12; V15)."""

from __future__ import annotations

from agents.core.steps import StepFailed
from agents.postgres.server import Server
from agents.postgres.sql import NoAnswer
from common.ids import parse_slot_name

_LIST = """
select slot_name, active, coalesce(wal_status, '') from pg_replication_slots where slot_type = 'physical'
"""
_DROP = "select pg_drop_replication_slot(%s)"
_MAKE = "select pg_create_physical_replication_slot(name, false) from unnest(%s::text[]) as name"


async def make_slots(server: Server, wanted: tuple[str, ...], epoch: int) -> None:
    """Without reserving WAL, so that a slot whose member never comes holds nothing."""
    session, within_ms = server.control, server.config.sql_within_ms
    there = set()
    for name, active, wal_status in await session.rows(_LIST, within_ms=within_ms):
        known = parse_slot_name(name)
        outdated = known is not None and known[2] < epoch
        lost = name in wanted and wal_status == "lost"  # it never recovers
        if active or not (outdated or lost):
            there.add(name)
            continue
        try:
            await session.run(_DROP, (name,), within_ms=within_ms)
        except NoAnswer:
            raise
        except StepFailed:  # it became active in this moment
            there.add(name)
    missing = [name for name in wanted if name not in there]
    if missing:
        await session.run(_MAKE, (missing,), within_ms=within_ms)
