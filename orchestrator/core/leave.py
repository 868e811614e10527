"""Leaving an epoch: `epoch + 1, SEALING` (protocol.md, R1, R4).

Pure. Whether it is allowed was decided before, in `reach.py`; this is how.
"""

from __future__ import annotations

from msgspec.structs import replace

from common.lsn import ZERO
from orchestrator.core.priors import on_leaving
from orchestrator.core.record import Handover, Operation, Phase, Record


def leave(record: Record, operation: Operation, handover: Handover | None = None) -> Record:
    """Appends the outgoing primary, or the candidate given up; from SEALING appends nothing."""
    if operation.outgoing is None:
        operation = replace(operation, outgoing=record.primary)
    return replace(
        record,
        epoch=record.epoch + 1,
        phase=Phase.SEALING,
        prior=on_leaving(record),
        seals=(),
        candidate=None,
        candidate_position=None,
        target=None,
        # What may have been in force is in `prior` now; the first one stands for it until R_new.
        rules=record.rules[:1],
        handover=handover,
        operation=operation,
        # The next primary may have what this one has removed.
        members=tuple(replace(member, upstream_oldest_lsn=ZERO) for member in record.members),
    )
