"""May a closed primary let clients in? (protocol.md, R8)

Pure. Only on reason (b), obtained since this start: a commit past the end of recovery and, after a
promotion, past the switch point; or a client could read what a later failover forgets.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.lsn import Lsn
from common.timebase import Instant


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A probe commit that was acknowledged under the stored rule, without a warning."""

    begun_at: Instant
    end_lsn: Lsn


def may_open(
    evidence: Acknowledged | None, *, started_at: Instant, end_of_recovery_lsn: Lsn, switch_lsn: Lsn | None
) -> bool:
    if evidence is None or evidence.begun_at < started_at:
        return False
    return evidence.end_lsn > end_of_recovery_lsn and (switch_lsn is None or evidence.end_lsn > switch_lsn)
