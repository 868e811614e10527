"""A standby that needs WAL which its primary has removed: it fits, and can stream from nobody.

Pure. PostgreSQL says so in its log alone, and the standby asks again for ever.
"""

from __future__ import annotations

import msgspec

from common.facts import PostgresState
from common.lsn import ZERO, Lsn
from common.timebase import Instant, elapsed_ms
from orchestrator.core.record import MemberRecord, Phase, Record
from orchestrator.core.view import ClusterView
from orchestrator.core.wanted import FACTS_FRESH_MS, primary_answers


class RemovedWal(msgspec.Struct, frozen=True):
    end_lsn: Lsn
    """Where the standby ends, as far as is known without a scan."""
    oldest_lsn: Lsn
    """Where the WAL of the primary begins."""


def removed_wal(record: Record, member: MemberRecord, view: ClusterView, now: Instant) -> RemovedWal | None:
    """None: it streams, or nothing is known to be missing, or what is known is old."""
    if record.phase is not Phase.STABLE or record.primary is None:
        return None
    seen = view.member(member.name)
    facts, primary = seen.facts, primary_answers(record, view, now)
    if facts is None or seen.facts_at is None or not seen.is_current(member):
        return None
    if primary is None or primary.facts is None or primary.facts.postgres is not PostgresState.PRIMARY:
        return None
    fresh = elapsed_ms(since=seen.facts_at, now=now) <= FACTS_FRESH_MS and facts.obeyed.epoch == record.epoch
    if not fresh or facts.postgres is not PostgresState.STANDBY or facts.receiver_alive:
        return None
    # What was received is known once it was asked for (E5): before, it may have more of its own than it has replayed.
    end_lsn, oldest_lsn = max(facts.flushed_lsn, facts.replayed_lsn), primary.facts.oldest_lsn
    # Whether it fits its agent has compared before it attached it; the timeline that it reports may be one before its
    # own, as the control file has it until the next restart point.
    return RemovedWal(end_lsn, oldest_lsn) if facts.flushed_lsn > ZERO and end_lsn < oldest_lsn else None
