"""Control nodes that answer as a test says, over real gRPC with real client certificates."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from common.codec import encode
from common.ids import ClusterName, MemberName
from deploy.lab.ca import Authority
from orchestrator.core.status import CandidateLine, ClusterStatus, MemberLine, NamesLine
from protos import operator_pb2 as pb
from protos.operator_pb2_grpc import OperatorServicer, add_OperatorServicer_to_server

Answer = Callable[[Any, grpc.ServicerContext], Any]


@dataclass
class Certificates:
    """Those of the control nodes, and those of one person."""

    folder: Path
    authority: Authority = field(default_factory=lambda: Authority("lab"))

    def __post_init__(self) -> None:
        self.ca_file = self.folder / "ca.crt"
        self.ca_file.write_bytes(self.authority.certificate_pem)
        person = self.authority.issue("operator:anna")
        self.certificate_file, self.key_file = person.write(self.folder, "anna")

    def server(self) -> grpc.ServerCredentials:
        issued = self.authority.issue("control:one", addresses=("127.0.0.1",))
        return grpc.ssl_server_credentials(
            [(issued.key, issued.certificate)], self.authority.certificate_pem, require_client_auth=True
        )


class Node(OperatorServicer):
    """One control node. `answers` holds what it does for each method; everything asked is kept in `asked`."""

    def __init__(self, certificates: Certificates) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, Any]] = []
        self.heard = threading.Event()
        """Somebody asked something."""
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        add_OperatorServicer_to_server(self, self._server)
        port = self._server.add_secure_port("127.0.0.1:0", certificates.server())
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def says(self, method: str, answer: Answer) -> None:
        self.answers[method] = answer

    def does_not_lead(self, leader: Node | None) -> None:
        """It says so, whatever it is asked."""

        def refuse(_: Any, context: grpc.ServicerContext) -> Any:
            if leader is not None:
                context.set_trailing_metadata((("primacy-leader", leader.address),))
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "I do not lead")
            context.abort(grpc.StatusCode.UNAVAILABLE, "control2 does not lead, and knows of nobody who does")

        for method in ("Status", "Watch", "Apply", "Switchover", "Failover", "History"):
            self.says(method, refuse)

    def dies(self) -> None:
        self._server.stop(0).wait(5)

    def times_asked(self, method: str) -> int:
        return sum(name == method for name, _ in self.asked)

    def _unary(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append((method, request))
        self.heard.set()
        return self.answers[method](request, context)

    def _stream(self, method: str, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from self._unary(method, request, context)

    def Status(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._unary("Status", request, context)

    def Apply(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._unary("Apply", request, context)

    def History(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._unary("History", request, context)

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        return self._stream("Watch", request, context)

    def Switchover(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        return self._stream("Switchover", request, context)

    def Failover(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        return self._stream("Failover", request, context)


def status_reply(*statuses: ClusterStatus) -> Answer:
    """Of one cluster when one is named, else of the fleet."""

    def answer(request: Any, context: grpc.ServicerContext) -> pb.StatusReply:
        if not request.cluster:
            return pb.StatusReply(json=encode(list(statuses)))
        for status in statuses:
            if status.cluster == request.cluster:
                return pb.StatusReply(json=encode(status), revision=status.revision)
        context.abort(grpc.StatusCode.NOT_FOUND, f"there is no cluster {request.cluster!r}; known: shop")
        raise AssertionError("abort raises")

    return answer


def progress(name: str, text: str, since_start_ms: int) -> pb.OperationStep:
    return pb.OperationStep(operation="op", name=name, text=text, since_start_ms=since_start_ms)


def succeeded(text: str, since_start_ms: int, *, outage_ms: int | None = None) -> pb.OperationStep:
    step = pb.OperationStep(
        operation="op", kind=pb.STEP_SUCCEEDED, name="whole", text=text, since_start_ms=since_start_ms
    )
    if outage_ms is not None:
        step.outage.known, step.outage.outage_ms, step.outage.uncertainty_ms = True, outage_ms, 20
    return step


def member(name: str, **changes: Any) -> MemberLine:
    number = ord(name[0]) - ord("a") + 1
    fields: dict[str, Any] = {
        "name": MemberName(name),
        "address": f"10.77.3.{number}",
        "port": 5432,
        "site": "north",
        "priority": 100,
        "nofailover": False,
        "role": "standby",
        "state": "voter",
        "incarnation": 1,
        "heard_age_ms": 120,
        "timeline": 3,
        "position": "3@0/5000A30",
        "lag_bytes": 0,
        "replay_backlog_bytes": 0,
        "write_state": "none",
        "write_age_ms": None,
        "free_mib": 12_300,
        "postgres_version": 150018,
        "activity": "",
        "error": "",
    }
    return MemberLine(**{**fields, **changes})


def primary(name: str, **changes: Any) -> MemberLine:
    said = {"role": "primary", "state": "serving", "write_state": "acknowledged", "write_age_ms": 210}
    return member(name, **{**said, "lag_bytes": None, "heard_age_ms": 31, **changes})


def cluster(name: str = "shop", **changes: Any) -> ClusterStatus:
    """Three members, a is the primary, everything is well."""
    fields: dict[str, Any] = {
        "cluster": ClusterName(name),
        "zone": "db.example.",
        "leader": "control2",
        "term": 812,
        "revision": 4711,
        "epoch": 7,
        "phase": "STABLE",
        "primary": "a",
        "timeline": 3,
        "rule": "ANY 1 (b.1, c.1)",
        "wanted_rule": "ANY 1 (b.1, c.1)",
        "settled": True,
        "whole": True,
        "diagnosis": "Healthy",
        "reasons": (),
        "members": (primary("a"), member("b"), member("c")),
        "candidates": (
            CandidateLine(MemberName("a"), False, "is_primary", "it is the primary"),
            CandidateLine(MemberName("b"), True, "", ""),
            CandidateLine(MemberName("c"), False, "ranked_lower", "name after b"),
        ),
        "names": NamesLine(
            f"primary.{name}.db.example.", f"replicas.{name}.db.example.", ("10.77.3.1",), True, ""
        ),
        "profile": "default",
        "operation": "",
    }
    return ClusterStatus(**{**fields, **changes})
