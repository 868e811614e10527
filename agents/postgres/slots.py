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
_MAKE = "select pg_create_physical_replication_slot(%s, false)"


async def make_slots(server: Server, wanted: tuple[str, ...], epoch: int) -> None:
    """Without reserving WAL, so that a slot whose member never comes holds nothing.

    The new ones first: somebody may be waiting for them. Then those of older epochs, once their member streams
    through the new one or has none any more, and those of this one whose member left or is another incarnation by
    now (each would hold WAL until the next epoch); dropping one costs some fsyncs, as making one does.
    """
    session, within_ms = server.control, server.config.sql_within_ms
    rows = await session.rows(_LIST, within_ms=within_ms)
    lost = [name for name, active, wal in rows if name in wanted and wal == "lost" and not active]
    for name in lost:  # it never recovers
        await session.run(_DROP, (name,), within_ms=within_ms)
    there = {name for name, _, _ in rows} - set(lost)
    missing = [name for name in wanted if name not in there]
    for (
        name
    ) in missing:  # in order, and each by itself: it can be used while the next one is being made durable
        await session.run(_MAKE, (name,), within_ms=within_ms)
    if missing:
        return
    arrived = {name for name, active, _ in rows if active}
    awaited = {known[0] for name in wanted if name not in arrived and (known := parse_slot_name(name))}
    for name, active, _ in rows:
        known = parse_slot_name(name)
        if active or known is None or known[2] > epoch or name in wanted:
            continue
        if known[2] < epoch and known[0] in awaited:
            continue  # its member has not moved yet
        try:
            await session.run(_DROP, (name,), within_ms=within_ms)
        except NoAnswer:
            raise
        except StepFailed:
            continue  # it became active in this moment
