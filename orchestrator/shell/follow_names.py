"""A control node that answers DNS itself and does not lead: its table follows the record.

Reading is enough: the table takes newer versions only, and keeps the last when etcd is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from common.clock import Clock
from common.codec import decode
from common.errors import NotDelivered, OutcomeUnknown, Refused
from common.ids import ClusterName
from common.timebase import SECOND_US
from orchestrator.core.names import WantedNames
from orchestrator.core.record import Record
from orchestrator.core.stories import wanted_names
from orchestrator.ports import RecordStore, StoredRecord
from orchestrator.shell.case import Case

LOOK_EVERY_S = 0.2
"""How much later than the leader this node answers with a new primary."""
LOOK_SHARE = 5
"""With thousands of clusters a look takes longer: it may take this part of the time, the later this node answers."""
READ_AT_ONCE = 64


async def follow_names(
    cases: Mapping[ClusterName, Case],
    records: RecordStore,
    leads: Callable[[], bool],
    publish: Callable[[WantedNames], object],
    clock: Clock,
) -> None:
    """Until cancelled."""
    revisions: dict[ClusterName, int] = {}
    while True:
        began = clock.now()
        known = [] if leads() else list(cases.values())
        answered = True
        for first in range(0, len(known), READ_AT_ONCE):
            some = known[first : first + READ_AT_ONCE]
            found = await _read(records, some)
            if found is None:
                answered = False
                break
            for case, stored in zip(some, found, strict=True):
                if stored is None or case.spec is None or revisions.get(case.cluster) == stored.mod_revision:
                    continue
                wanted = wanted_names(decode(stored.body, Record), case.spec, stored.mod_revision)
                if wanted is not None:
                    publish(wanted)
                revisions[case.cluster] = stored.mod_revision
        took_s = (clock.now() - began) / SECOND_US
        longer_s = (LOOK_SHARE - 1) * took_s if answered else 0.0
        await asyncio.sleep(max(LOOK_EVERY_S - took_s, longer_s))


async def _read(records: RecordStore, cases: Sequence[Case]) -> list[StoredRecord | None] | None:
    """None: etcd is away, and the table keeps what it knows."""
    try:
        async with asyncio.TaskGroup() as group:
            reads = [group.create_task(records.load(case.cluster)) for case in cases]
    except* (NotDelivered, OutcomeUnknown, Refused):
        reads = []
    return [read.result() for read in reads] if reads else None
