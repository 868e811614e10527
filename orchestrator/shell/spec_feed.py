"""What people applied, from etcd to the engines and to the table of members; on every control node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import structlog

from common.clock import Clock
from common.codec import decode
from common.ids import ClusterName, MemberName
from orchestrator.core.events import SpecLoaded
from orchestrator.core.spec import ClusterSpec
from orchestrator.ports import SpecStore, StoredSpec
from orchestrator.shell.inbox import Inbox

log = structlog.get_logger()

SetMembers = Callable[[Iterable[tuple[ClusterName, MemberName, Sequence[str]]]], None]


async def feed_specs(specs: SpecStore, clock: Clock, inbox: Inbox, set_members: SetMembers) -> None:
    """Until cancelled. A specification that can't be read leaves the one before it in force."""
    known: dict[ClusterName, ClusterSpec] = {}
    looked_at: dict[str, StoredSpec] = {}
    async with specs.feed() as snapshots:
        async for snapshot in snapshots:
            for name, stored in snapshot.items():
                if looked_at.get(name) == stored:
                    continue
                looked_at[name] = stored
                cluster = ClusterName(name)
                try:
                    spec = decode(stored.body, ClusterSpec)
                except ValueError as error:
                    log.error("spec.unreadable", cluster=name, error=str(error))
                    continue
                if known.get(cluster) != spec:
                    known[cluster] = spec
                    inbox.put(cluster, SpecLoaded(clock.now(), spec))
                    log.info("spec.loaded", cluster=name, members=[member.name for member in spec.members])
            set_members(
                (spec.name, member.name, member.addresses)
                for spec in known.values()
                for member in spec.members
            )
