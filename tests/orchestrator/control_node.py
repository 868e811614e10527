"""A control node of a test: the production App, configured for loopback and free ports."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio

from common.codec import encode
from common.ids import ClusterName, MemberName
from deploy.lab.ca import Authority, Certificate
from orchestrator import config as configuration
from orchestrator.app import App
from orchestrator.core.spec import ClusterSpec, MemberSpec
from protos import operator_pb2 as pb

WITHIN_S = 15.0
SECRET = bytes(range(32))


def free_ports(count: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[int]:
    holders = [socket.socket(type=kind) for _ in range(count)]
    try:
        for holder in holders:
            holder.bind(("127.0.0.1", 0))
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()


def spec_of(cluster: str = "shop", members: tuple[str, ...] = ("a", "b", "c")) -> ClusterSpec:
    return ClusterSpec(
        ClusterName(cluster),
        "db.example.",
        tuple(
            MemberSpec(MemberName(name), f"db-{name}", (f"127.0.9.{number}",))
            for number, name in enumerate(members, start=1)
        ),
    )


@dataclass
class Fleet:
    """What the control nodes of one test share."""

    folder: Path
    etcd: str
    name: str
    authority: Authority = field(default_factory=lambda: Authority("test"))

    def certificate(self, identity: str) -> Certificate:
        return self.authority.issue(identity, addresses=("127.0.0.1",))

    def credentials(self, identity: str) -> grpc.ChannelCredentials:
        own = self.certificate(identity)
        return grpc.ssl_channel_credentials(self.authority.certificate_pem, own.key, own.certificate)

    def config(self, node: str) -> configuration.Config:
        home = self.folder / node
        home.mkdir()
        (home / "data").mkdir()
        (home / "ca.crt").write_bytes(self.authority.certificate_pem)
        certificate, key = self.certificate(f"control:{node}").write(home, "node")
        for file, content in (
            ("beat.secret", SECRET.hex()),
            ("probe.password", "secret"),
            ("canary.password", "c"),
        ):
            (home / file).touch(mode=0o600)
            (home / file).write_text(content)
        (beat_port,) = free_ports(1, socket.SOCK_DGRAM)
        grpc_port, http_port = free_ports(2)
        (home / "orchestrator.toml").write_text(
            f"""
            name = "{node}"
            fleet = "{self.name}"
            data_directory = "data"
            [listen]
            address = "127.0.0.1"
            beat_port = {beat_port}
            grpc_port = {grpc_port}
            http_port = {http_port}
            [tls]
            certificate_file = "{certificate}"
            key_file = "{key}"
            ca_file = "ca.crt"
            [beats]
            secret_file = "beat.secret"
            [etcd]
            endpoints = ["{self.etcd}"]
            [probe]
            password_file = "probe.password"
            [canary]
            password_file = "canary.password"
            """
        )
        return configuration.read(home / "orchestrator.toml")

    @asynccontextmanager
    async def node(self, name: str) -> AsyncIterator[App]:
        """Running until the block ends; then it resigns and stops."""
        app = App(self.config(name))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(app.run())
            try:
                yield app
            finally:
                app.stop()
                async with asyncio.timeout(WITHIN_S):
                    await asyncio.wait({running})

    @asynccontextmanager
    async def channel(self, app: App, identity: str = "operator:alice") -> AsyncIterator[grpc.aio.Channel]:
        async with grpc.aio.secure_channel(app.config.address, self.credentials(identity)) as channel:
            yield channel

    async def apply(self, app: App, spec: ClusterSpec) -> pb.ApplyReply:
        async with self.channel(app) as channel:
            call = channel.unary_unary(
                "/primacy.v1.Operator/Apply",
                request_serializer=pb.ApplyRequest.SerializeToString,
                response_deserializer=pb.ApplyReply.FromString,
            )
            reply: pb.ApplyReply = await call(pb.ApplyRequest(spec_json=encode(spec)), timeout=WITHIN_S)
            return reply


async def until(what: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Real parts move by themselves; this looks at them often, and fails with the place that waited."""
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.01)
