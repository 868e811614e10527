"""What leaving an epoch appends to `prior` (protocol.md, R1, R4).

Pure.
"""

from __future__ import annotations

from orchestrator.core.record import Phase, Prior, Record


def appended(record: Record) -> tuple[Prior, ...]:
    """STABLE: the outgoing primary, once for each of its rules. PROMOTING: the candidate given up, with
    R_new. SEALING: nothing, nobody was promoted."""
    if record.phase is Phase.STABLE:
        outgoing = record.primary
    elif record.phase is Phase.PROMOTING:
        outgoing = record.candidate
    else:
        return ()
    assert outgoing is not None
    number = record.the(outgoing).number
    return tuple(Prior(record.epoch, outgoing, number, rule) for rule in record.rules)


def on_leaving(record: Record) -> tuple[Prior, ...]:
    return (*record.prior, *appended(record))
