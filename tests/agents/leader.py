"""A small leader for tests: speaks the agents' protocol over TLS and UDP, decides nothing."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from common import codec
from common.assignment import Assignment
from common.datagram import AckFrame, BadDatagram, BeatFrame, member_key, open_frame, seal
from common.facts import Facts
from common.profile import FAST, Profile
from deploy.lab.ca import Authority
from protos import agent_pb2, agent_pb2_grpc, beat_pb2

SECRET = b"k" * 32


@dataclass
class Leader(agent_pb2_grpc.AgentsServicer):
    """One control node; `leads` may be switched off, then it names `leader_address`."""

    authority: Authority
    name: str = "control1"
    term: int = 5
    profile: Profile = FAST
    leads: bool = True
    leader_address: str = ""
    peers: tuple[str, ...] = ()
    leader_name: str = ""
    grants: bool = True
    acks: bool = True
    facts: list[Facts] = field(default_factory=list)
    beats: list[BeatFrame] = field(default_factory=list)
    streams: list[Any] = field(default_factory=list)
    stream_beats_count: int = 0
    grpc_port: int = 0
    beat_port: int = 0
    last: Assignment | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        certificate = self.authority.issue(f"control:{self.name}", addresses=("127.0.0.1",))
        credentials = grpc.ssl_server_credentials(
            [(certificate.key, certificate.certificate)],
            self.authority.certificate_pem,
            require_client_auth=True,
        )
        self._server = grpc.aio.server()
        agent_pb2_grpc.add_AgentsServicer_to_server(self, self._server)
        self.grpc_port = self._server.add_secure_port("127.0.0.1:0", credentials)
        await self._server.start()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self.beat_port = self._socket.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._socket, self._heard)

    async def stop(self) -> None:
        if self._socket.fileno() < 0:
            return  # the test did it
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        await self._server.stop(0)

    async def order(self, assignment: Assignment) -> None:
        self.last = assignment
        for context in self.streams:
            await context.write(agent_pb2.Down(assignment=codec.encode(assignment)))

    async def tell_profile(self, profile: Profile) -> None:
        self.profile = profile
        for context in self.streams:
            await context.write(agent_pb2.Down(welcome=self._welcome()))

    async def until(self, condition: Any, within_s: float = 30.0) -> Facts:
        """The first facts from now on (or the newest so far) that fulfil it."""
        async with asyncio.timeout(within_s):
            while not self.facts or not condition(self.facts[-1]):
                self._changed.clear()
                await self._changed.wait()
        return self.facts[-1]

    async def until_beat(self, condition: Any, within_s: float = 10.0) -> BeatFrame:
        async with asyncio.timeout(within_s):
            while not self.beats or not condition(self.beats[-1]):
                self._changed.clear()
                await self._changed.wait()
        return self.beats[-1]

    def _welcome(self) -> agent_pb2.Welcome:
        return agent_pb2.Welcome(
            leader=self.name, term=self.term, profile=codec.encode(self.profile).decode(), peers=self.peers
        )

    async def Session(self, _requests: Any, context: Any) -> None:
        if not self.leads:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, "no", (("primacy-leader", self.leader_address),)
            )
        hello = await context.read()
        assert hello.hello.version == 1
        await context.write(agent_pb2.Down(welcome=self._welcome()))
        if self.last is not None:
            await context.write(agent_pb2.Down(assignment=codec.encode(self.last)))
        self.streams.append(context)
        try:
            while isinstance(up := await context.read(), agent_pb2.Up):
                if up.WhichOneof("what") == "facts":
                    self.facts.append(codec.decode(up.facts, Facts))
                    self._changed.set()
                else:
                    self.stream_beats_count += 1
                    await context.write(agent_pb2.Down(ack=self._ack_of(up.beat)))
        finally:
            self.streams.remove(context)

    def _ack_of(self, beat: beat_pb2.Beat) -> beat_pb2.Ack:
        return beat_pb2.Ack(
            sequence=beat.sequence,
            sent_us=beat.sent_us,
            leader=self.name,
            term=self.term,
            epoch=max(beat.obeyed_epoch, 1),
            lease_ms=self.profile.lease_ms,
        )

    def _heard(self) -> None:
        data, sender = self._socket.recvfrom(2048)
        key = member_key(SECRET, "shop", "a", 1)
        try:
            frame = open_frame(data, lambda member, generation: key)
        except BadDatagram:
            return
        assert isinstance(frame, BeatFrame)
        self.beats.append(frame)
        self._changed.set()
        if self.acks:
            grants = self.leads and self.grants
            ack = AckFrame(
                frame.header,
                self.name if self.leads else self.leader_name,
                self.term,
                max(frame.obeyed.epoch, 1) if grants else 0,
                self.profile.lease_ms if grants else 0,
            )
            self._socket.sendto(seal(key, ack), sender)


def write_config(folder: Path, authority: Authority, leaders: list[Leader], **postgres: object) -> Path:
    """agent.toml of shop/a with all the files that it names."""
    folder.mkdir(exist_ok=True)
    authority.issue("agent:shop/a", addresses=("127.0.0.1",)).write(folder, "agent")
    (folder / "ca.crt").write_bytes(authority.certificate_pem)
    for name, text in (
        ("beat.key", member_key(SECRET, "shop", "a", 1).hex()),
        ("replication.password", "r"),
        ("probe.password", "p"),
    ):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    values = {"bin_directory": "/usr/lib/postgresql/15/bin", "port": 15432, **postgres}
    lines = [f"{key} = {value!r}".replace("'", '"') for key, value in values.items()]
    control = "".join(
        f'[[control]]\nname = "{node.name}"\naddress = "127.0.0.1"\n'
        f"beat_port = {node.beat_port}\ngrpc_port = {node.grpc_port}\n"
        for node in leaders
    )
    text = f"""
cluster = "shop"
member = "a"
state_directory = "state"
[listen]
address = "127.0.0.1"
metrics_port = 0
[tls]
certificate_file = "agent.crt"
key_file = "agent.key"
ca_file = "ca.crt"
[beats]
key_file = "beat.key"
{control}
[postgres]
data_directory = "data"
socket_directory = "s"
listen_addresses = "127.0.0.1"
replication_password_file = "replication.password"
probe_password_file = "probe.password"
hba = ["host all all 127.0.0.1/32 trust"]
{chr(10).join(lines)}
"""
    (folder / "agent.toml").write_text(text)
    return folder / "agent.toml"
