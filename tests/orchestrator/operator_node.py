"""A control node's Operator on a real gRPC port, and what stands behind it in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from msgspec.structs import replace

from common.errors import NotDelivered
from common.ids import ClusterName
from common.timebase import Instant
from deploy.lab.ca import Authority
from orchestrator.core.effects import Story
from orchestrator.core.events import Event
from orchestrator.core.record import Phase, Record
from orchestrator.core.status import ClusterStatus
from orchestrator.ingress.forwarding import Forwarding
from orchestrator.ingress.operator_api import OperatorService
from orchestrator.ports import Conflict, Note, Shelf, StoredSpec, Term
from orchestrator.shell.operations import Operations
from protos import operator_pb2 as pb
from protos import operator_pb2_grpc
from tests.orchestrator.fakes import SHOP, HandClock, record

WITHIN_S = 10
ID = "request-1"


@dataclass
class MemorySpecs:
    stored: dict[str, StoredSpec] = field(default_factory=dict)
    interferes: bool = False

    async def load(self, cluster: str) -> StoredSpec | None:
        return self.stored.get(cluster)

    async def save(self, cluster: str, body: bytes, expected_mod_revision: int) -> int:
        if self.interferes:
            raise Conflict("spec", expected=expected_mod_revision, found=99)
        self.stored[cluster] = StoredSpec(cluster, body, expected_mod_revision + 1)
        return expected_mod_revision + 1

    async def load_all(self) -> Mapping[str, StoredSpec]:
        return self.stored

    def feed(self) -> AbstractAsyncContextManager[AsyncIterator[Mapping[str, StoredSpec]]]:
        raise NotImplementedError


@dataclass
class MemoryHistory:
    notes: dict[tuple[Shelf, str], Note] = field(default_factory=dict)
    away: bool = False
    puts_count: int = 0

    async def put(self, shelf: Shelf, cluster: str, note_id: str, body: bytes, term: Term) -> int:
        self.puts_count += 1
        self.notes[shelf, note_id] = Note(note_id, body, 1)
        return 1

    async def get(self, shelf: Shelf, cluster: str, note_id: str) -> Note | None:
        if self.away:
            raise NotDelivered("etcd is away")
        return self.notes.get((shelf, note_id))

    async def newest(self, shelf: Shelf, cluster: str, count: int) -> Sequence[Note]:
        return [note for (on, _), note in self.notes.items() if on is shelf]

    async def prune(self, shelf: Shelf, cluster: str, term: Term, keep: int = 200) -> int:
        return 0


class Engine:
    def __init__(self) -> None:
        self.revision = 5

    def status(self, now: Instant) -> ClusterStatus:
        return ClusterStatus(
            SHOP, "db.example.", "", 4, self.revision, 1, "STABLE", "a", 1, "solo", "solo", True, True,
            "Healthy", (), (), (), None, "default", "",
        )  # fmt: skip


@dataclass
class Case:
    record: Record | None = field(default_factory=record)
    must_load: bool = False
    engine: Engine = field(default_factory=Engine)


@dataclass
class Node:
    """One control node's Operator, and what stands behind it."""

    authority: Authority
    leads: bool = True
    leader_address: str = ""
    address: str = ""
    case: Case = field(default_factory=Case)
    specs: MemorySpecs = field(default_factory=MemorySpecs)
    history: MemoryHistory = field(default_factory=MemoryHistory)
    asked: list[Event] = field(default_factory=list)
    clock: HandClock = field(default_factory=HandClock)
    operations: Operations = field(default_factory=lambda: Operations(HandClock()))
    overloaded: bool = False
    why_nobody: str = "etcd does not answer"
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def change(self, revision: int, phase: Phase) -> None:
        """Whoever waits for a change is woken, as by the loop."""
        self.case.engine.revision = revision
        assert self.case.record is not None
        self.case.record = replace(self.case.record, phase=phase)
        told, self.changed = self.changed, asyncio.Event()
        told.set()

    async def why_nobody_leads(self) -> str:
        return self.why_nobody

    def put(self, cluster: ClusterName, event: Event) -> bool:
        if not self.overloaded:
            self.asked.append(event)
        return not self.overloaded

    def tell(self, name: str, final: str = "", operation: str = ID, **more: Any) -> None:
        self.operations.tell(SHOP, Story(2, name, f"{name} it is", operation, final=final, **more))

    async def until_asked(self) -> Event:
        async with asyncio.timeout(WITHIN_S):
            while not self.asked:
                await asyncio.sleep(0.005)
        return self.asked[-1]

    @asynccontextmanager
    async def person(self, identity: str = "operator:alice") -> AsyncIterator[Any]:
        own = self.authority.issue(identity, addresses=("127.0.0.1",))
        credentials = grpc.ssl_channel_credentials(self.authority.certificate_pem, own.key, own.certificate)
        async with grpc.aio.secure_channel(self.address, credentials) as channel:
            yield operator_pb2_grpc.OperatorStub(channel)


@asynccontextmanager
async def node(authority: Authority | None = None, *, quiet_max_s: float = 60.0) -> AsyncIterator[Node]:
    authority = authority or Authority("test")
    made = Node(authority)
    made.operations = Operations(made.clock, quiet_max_s=quiet_max_s)
    own = authority.issue("control:control1", addresses=("127.0.0.1",))
    credentials = grpc.ssl_channel_credentials(authority.certificate_pem, own.key, own.certificate)
    forwarding = Forwarding("control1", "own address", made, credentials)

    async def next_change() -> None:
        await made.changed.wait()

    service = OperatorService(
        node="control1", clock=made.clock, leading=made, forwarding=forwarding, watched={SHOP: made.case},
        next_change=next_change, put=made.put, operations=made.operations, specs=made.specs,
        history=made.history, zones=frozenset({"db.example"}),
    )  # fmt: skip
    server = grpc.aio.server()
    operator_pb2_grpc.add_OperatorServicer_to_server(service, server)
    port = server.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials(
            [(own.key, own.certificate)], authority.certificate_pem, require_client_auth=True
        ),
    )
    made.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield made
    finally:
        await server.stop(0)
        await forwarding.close()


def switchover(stub: Any, request_id: str = ID) -> Any:
    return stub.Switchover(
        pb.SwitchoverRequest(cluster="shop", to="b", request_id=request_id), timeout=WITHIN_S
    )


async def kinds(call: Any) -> list[tuple[int, str]]:
    return [(step.kind, step.name) async for step in call]


async def beside(call: Any) -> list[tuple[str, str]]:
    """What a call that ends with UNAVAILABLE says in its trailing metadata."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        await kinds(call)
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    return [(str(key), str(value)) for key, value in await call.trailing_metadata()]
