"""Two worlds in which the same contract holds: a real BIND, and our own answerer.

A world gives publishers (one for each control node), and lets a test ask as a client does: by UDP,
without our code. What only one of them can do is tested beside the contract.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Protocol

import dns.asyncquery
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from deploy.lab import bind
from orchestrator.core.names import WantedNames
from orchestrator.egress.dns_answerer import Answerer, AnswererNames
from orchestrator.egress.dns_authority import AnsweredZone, NameTable
from orchestrator.egress.dns_key import ServerAddress, TsigKey, read_key_file
from orchestrator.egress.dns_update import NameServerSettings, Rfc2136Names
from orchestrator.ports import NameService
from tests.needs import not_run

ZONE = "db.test"
LOOPBACK = "127.0.0.1"
NOBODY = (65534, 65534)
_numbers = itertools.count(1)


class World(Protocol):
    server: ServerAddress

    def publisher(self, verify: tuple[ServerAddress, ...] = ()) -> NameService:
        """As a control node that has just started has it: it remembers nothing."""
        ...


class BindWorld:
    def __init__(self, named: bind.NamedProcess) -> None:
        self.named = named
        self.server = ServerAddress(named.files.address, named.files.port)
        self.key = read_key_file(named.files.key)

    def publisher(self, verify: tuple[ServerAddress, ...] = ()) -> Rfc2136Names:
        return Rfc2136Names(self.settings(verify))

    def settings(
        self, verify: tuple[ServerAddress, ...] = (), key: TsigKey | None = None
    ) -> NameServerSettings:
        return NameServerSettings(zone=ZONE, server=self.server, key=key or self.key, verify=verify)


class AnswererWorld:
    def __init__(self, answerer: Answerer, table: NameTable) -> None:
        self.answerer = answerer
        self.server = answerer.addresses[0]
        self._table = table

    def publisher(self, verify: tuple[ServerAddress, ...] = ()) -> AnswererNames:
        return AnswererNames(ZONE, self._table, verify or (self.server,))


@asynccontextmanager
async def answerer_world() -> AsyncIterator[AnswererWorld]:
    table = NameTable()
    zone = AnsweredZone(ZONE, {f"ns1.{ZONE}": (LOOPBACK,)})
    answerer = Answerer([ServerAddress(LOOPBACK, 0)], [zone], table)
    async with answerer.serving():
        yield AnswererWorld(answerer, table)


@contextmanager
def named_running(clusters: tuple[str, ...] | None = None) -> Iterator[bind.NamedProcess]:
    binary = bind.find_named()
    if binary is None:
        not_run("BIND's named", get_it_by="apt-get install bind9 (as root; make test run as root does it)")
    confined = binary == Path("/usr/sbin/named") and bind.app_armor_confines_named()
    if confined and os.geteuid() != 0:
        not_run("a named that AppArmor lets use our folder", get_it_by="running as root")
    folder = Path(tempfile.mkdtemp(prefix="primacy-dns-", dir=bind.CONFINED_TO if confined else None))
    user = NOBODY if os.geteuid() == 0 else None
    files = bind.write(folder, address=LOOPBACK, port=free_port(), zone=ZONE, clusters=clusters, owner=user)
    named = bind.NamedProcess(binary, files, user=user)
    try:
        named.start()
        yield named
    finally:
        named.stop()
        shutil.rmtree(folder)


def free_port() -> int:
    """Free for UDP and TCP at this moment."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        ):
            udp.bind((LOOPBACK, 0))
            port = int(udp.getsockname()[1])
            try:
                tcp.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def a_cluster() -> str:
    """A name that no other test of this run uses: the servers are shared by all."""
    return f"c{next(_numbers)}"


def wanted(
    cluster: str,
    epoch: int,
    revision: int,
    *,
    primary: tuple[str, ...] = ("10.0.0.1",),
    replicas: tuple[str, ...] = ("10.0.0.2", "10.0.0.3"),
    zone: str = ZONE,
) -> WantedNames:
    return WantedNames(cluster, zone, epoch, revision, primary=primary, replicas=replicas)


async def ask(server: ServerAddress, name: str, kind: str) -> dns.message.Message:
    question = dns.message.make_query(dns.name.from_text(name), kind)
    question.flags &= ~dns.flags.RD
    return await dns.asyncquery.udp(question, server.host, timeout=2, port=server.port)


async def texts(server: ServerAddress, name: str, kind: str) -> list[str]:
    """What a client gets: the rdata of that type, sorted. No name and no data are both empty."""
    reply = await ask(server, name, kind)
    assert reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
    wanted_kind = dns.rdatatype.from_text(kind)
    return sorted(str(rdata) for rrset in reply.answer if rrset.rdtype == wanted_kind for rdata in rrset)
