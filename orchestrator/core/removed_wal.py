"""A standby that needs WAL which its primary has removed: it fits, and can stream from nobody.

Pure. PostgreSQL says so in its log alone, and the standby asks again for ever.
"""

from __future__ import annotations

import msgspec

from common.assignment import Position
from common.facts import Facts, PostgresState
from common.lsn import ZERO, Lsn
from orchestrator.core.lineage_check import misfits
from orchestrator.core.record import MemberRecord, Phase, Record
from orchestrator.core.view import ClusterView


class RemovedWal(msgspec.Struct, frozen=True):
    end_lsn: Lsn
    """Where the standby ends, as far as is known without a scan. While it starts it may have more than it has replayed:
    its agent compares again, with its end (agents/core/recipe_follow.py)."""
    oldest_lsn: Lsn
    """Where the WAL of the primary begins."""


def removed_wal(record: Record, member: MemberRecord, view: ClusterView) -> RemovedWal | None:
    """None: it streams, or nothing is known to be missing."""
    seen = view.member(member.name)
    facts = seen.facts
    if (
        record.phase is not Phase.STABLE
        or record.primary is None
        or facts is None
        or not seen.is_current(member)
    ):
        return None
    if facts.postgres is not PostgresState.STANDBY or facts.receiver_alive:
        return None
    upstream = view.member(record.primary)
    if upstream.facts is None or not upstream.is_current(record.the(record.primary)):
        return None
    serves = upstream.facts.postgres is PostgresState.PRIMARY and upstream.facts.obeyed.epoch == record.epoch
    end_lsn, oldest_lsn = _end_lsn(facts), upstream.facts.oldest_lsn
    if not serves or end_lsn == ZERO or end_lsn >= oldest_lsn:
        return None
    if misfits(Position(facts.timeline, end_lsn), record.timeline, record.history):
        return None
    return RemovedWal(end_lsn, oldest_lsn)


def _end_lsn(facts: Facts) -> Lsn:
    """What it received is unknown after a restart."""
    return max(facts.flushed_lsn, facts.replayed_lsn)
