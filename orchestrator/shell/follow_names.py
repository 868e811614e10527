"""A control node that answers DNS itself and does not lead: its table follows the record.

Reading is enough: the table takes newer versions only, and keeps the last when etcd is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from common.clock import Clock
from common.codec import decode
from common.errors import NotDelivered, OutcomeUnknown, Refused
from common.ids import ClusterName
from orchestrator.core.names import WantedNames
from orchestrator.core.record import Record
from orchestrator.core.stories import wanted_names
from orchestrator.ports import RecordStore
from orchestrator.shell.case import Case

LOOK_EVERY_S = 0.2
"""How much later than the leader this node answers with a new primary."""


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
        for case in [] if leads() else list(cases.values()):
            try:
                stored = await records.load(case.cluster)
            except (NotDelivered, OutcomeUnknown, Refused):
                break
            if stored is None or case.spec is None or revisions.get(case.cluster) == stored.mod_revision:
                continue
            wanted = wanted_names(decode(stored.body, Record), case.spec, stored.mod_revision)
            if wanted is not None:
                publish(wanted)
            revisions[case.cluster] = stored.mod_revision
        await asyncio.sleep(max(0.0, LOOK_EVERY_S - (clock.now() - began) / 1_000_000))
