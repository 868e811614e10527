"""One gRPC port for everything: agents' streams, Operator, Observer, health, reflection; mutual TLS."""

from __future__ import annotations

from typing import Any

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from common.errors import BadConfig
from orchestrator.config import TlsFiles
from orchestrator.ingress.tls import SERVER_OPTIONS, server_credentials
from protos import agent_pb2_grpc, observer_pb2_grpc, operator_pb2_grpc

SERVICES = ("primacy.v1.Agents", "primacy.v1.Operator", "primacy.v1.Observer")
GRACE_S = 0.2


class GrpcServer:
    def __init__(self, tls: TlsFiles, *, agents: Any, operator: Any, observer: Any) -> None:
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self._credentials = server_credentials(tls)
        self._health = health.aio.HealthServicer()
        agent_pb2_grpc.add_AgentsServicer_to_server(agents, self._server)
        operator_pb2_grpc.add_OperatorServicer_to_server(operator, self._server)
        observer_pb2_grpc.add_ObserverServicer_to_server(observer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )

    async def start(self, address: str) -> int:
        """Return the port. Raise BadConfig when it can't be had."""
        try:
            port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise BadConfig([f"gRPC: can't listen on {address}; is something else running there?"]) from error
        await self._server.start()
        return port

    async def is_healthy(self, healthy: bool) -> None:
        """SERVING: we listen, and etcd answers."""
        status = (
            health_pb2.HealthCheckResponse.SERVING if healthy else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for service in ("", *SERVICES):
            await self._health.set(service, status)

    async def stop(self) -> None:
        await self._server.stop(GRACE_S)
