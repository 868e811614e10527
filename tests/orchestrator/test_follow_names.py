"""A control node that does not lead answers with the names that the records say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from msgspec.structs import replace

from common.clock import BootClock
from common.codec import encode
from common.errors import NotDelivered
from common.ids import ClusterName
from orchestrator.core.engine import Engine
from orchestrator.core.names import WantedNames
from orchestrator.ports import StoredRecord, Term
from orchestrator.shell.case import Case
from orchestrator.shell.follow_names import READ_AT_ONCE, follow_names
from tests.orchestrator.control_node import spec_of, until
from tests.orchestrator.fakes import record


@dataclass
class Records:
    """Of every cluster one, at this revision."""

    revision: int = 1
    away: bool = False
    reads: int = 0
    etcd_cluster_id: int | None = 7

    async def load(self, cluster: str) -> StoredRecord | None:
        self.reads += 1
        if self.away:
            raise NotDelivered("no answer from etcd")
        return StoredRecord(encode(replace(record(epoch=2), cluster=ClusterName(cluster))), self.revision)

    async def save(self, cluster: str, body: bytes, expected_mod_revision: int, term: Term) -> int:
        raise AssertionError("who follows saves nothing")


@dataclass
class Node:
    records: Records = field(default_factory=Records)
    leads: bool = False
    published: list[WantedNames] = field(default_factory=list)

    @asynccontextmanager
    async def following(self, count: int) -> AsyncIterator[None]:
        names = [ClusterName(f"c{number}") for number in range(count)]
        cases = {name: Case(name, Engine(name), spec=spec_of(name, ("a",))) for name in names}
        work = follow_names(cases, self.records, lambda: self.leads, self.published.append, BootClock())
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            yield
            task.cancel()


async def test_all_are_published_once_and_again_when_the_record_changed() -> None:
    count, node = 2 * READ_AT_ONCE + 1, Node()
    async with node.following(count):
        await until(lambda: len(node.published) == count)
        await until(lambda: node.records.reads >= 3 * count)
        assert len(node.published) == count
        node.records.revision = 2
        await until(lambda: len(node.published) == 2 * count)
    assert {wanted.revision for wanted in node.published[count:]} == {2}


async def test_while_etcd_is_away_it_is_asked_again_and_the_rest_not_at_all() -> None:
    node = Node(Records(away=True))
    async with node.following(2 * READ_AT_ONCE):
        await until(lambda: node.records.reads >= 2 * READ_AT_ONCE)
        assert node.published == []
        node.records.away = False
        await until(lambda: len(node.published) == 2 * READ_AT_ONCE, within_s=2.0)


async def test_who_leads_has_its_names_from_its_own_decisions() -> None:
    node = Node(leads=True)
    async with node.following(1):
        await asyncio.sleep(0.5)
    assert node.records.reads == 0
