"""The description of a fleet, and the plan of its hosts: which host has which address and which parts.

Pure: nothing here touches the machine. What a host looks like on disk is in `files`, how it is wired
in `network`, how its processes run in `supervisor`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

CLIENT_HOST = "client"
ONE_SITE = "lab"
# PostgreSQL's first files and a few segments of WAL.
SMALLEST_DISK_MIB = 128
NAME_SERVER_HOST = "ns1"
MEMBER_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Wiring(Enum):
    """How a host gets an address of its own."""

    NAMESPACES = "namespaces"
    LOOPBACK = "loopback"  # no root needed; a lost host is then frozen, its network is not cut


class NameServer(Enum):
    BIND = "bind"
    ANSWERER = "answerer"  # the control nodes' own


@dataclass(frozen=True, slots=True)
class Ports:
    """The defaults of interfaces.md, but for the two that an ordinary user may not open or may find taken."""

    beat: int = 7430
    peer: int = 7431
    grpc: int = 7432
    http: int = 7433
    agent_metrics: int = 7434
    dns: int = 7453
    postgres: int = 5432
    etcd_client: int = 2379
    etcd_peer: int = 2380


def _loopback_ports(net: int) -> Ports:
    """A server of the system may listen on every address, so the well-known ports are avoided; and the
    name servers of several labs share one address, so each has a port of its own."""
    return Ports(postgres=7532, etcd_client=7579, etcd_peer=7580, dns=Ports().dns + net - 64)


@dataclass(frozen=True, slots=True)
class Cluster:
    name: str
    members: tuple[str, ...] = ("a", "b", "c")
    profile: str = "default"
    k: int = 1
    durability: str = "quorum"
    nofailover: frozenset[str] = frozenset()
    canary: bool = False
    """Primacy's own writer, which sees every outage."""


@dataclass(frozen=True, slots=True)
class Site:
    """Hosts by name, such as `control1` or `shop-a`; a host that no site names is in the site `lab`."""

    name: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is asked for. `mistakes` says why it can't be had."""

    name: str = "lab"
    zone: str = "db.example."
    control_count: int = 3
    etcd_count: int = 3
    clusters: tuple[Cluster, ...] = (Cluster("shop"),)
    name_server: NameServer = NameServer.BIND
    client_count: int = 1
    """The first is `client`, the others are `client2` and so on."""
    sites: tuple[Site, ...] = ()
    disk_mib: int | None = None
    """A disk of its own for each member (needs root), which can be filled and stalled; None: plain folders."""
    disks_in_memory: bool = True
    """False: their files lie in the run's folder, as the plain folders would."""

    def mistakes(self) -> Iterator[str]:
        if not 1 <= self.control_count <= 9:
            yield f"control_count is {self.control_count}: have 1 to 9"
        if self.etcd_count not in {1, 3}:
            yield f"etcd_count is {self.etcd_count}: have 1 or 3"
        if not 1 <= self.client_count <= 9:
            yield f"client_count is {self.client_count}: have 1 to 9"
        if self.disk_mib is not None and self.disk_mib < SMALLEST_DISK_MIB:
            yield f"disk_mib is {self.disk_mib}: have {SMALLEST_DISK_MIB} or more"
        named = [host for site in self.sites for host in site.hosts]
        if len(set(named)) != len(named):
            yield "a host is named by two sites"
        if not self.zone.endswith("."):
            yield f"zone is {self.zone!r}: end it with a dot"
        names = [cluster.name for cluster in self.clusters]
        if len(set(names)) != len(names):
            yield f"two clusters have one name: {sorted(names)}"
        for cluster in self.clusters:
            if not DNS_LABEL.fullmatch(cluster.name):
                yield f"cluster {cluster.name!r}: the name must be a DNS label"
            if not 1 <= len(cluster.members) <= 9:
                yield f"cluster {cluster.name!r}: have 1 to 9 members"
            if len(set(cluster.members)) != len(cluster.members):
                yield f"cluster {cluster.name!r}: two members have one name"
            for member in cluster.members:
                if not MEMBER_NAME.fullmatch(member):
                    yield f"member {member!r} of {cluster.name!r}: the name must match {MEMBER_NAME.pattern}"


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the fleet: a network namespace, or an address of its own on loopback."""

    name: str
    address: str
    control: str | None = None
    etcd: str | None = None
    cluster: str | None = None
    member: str | None = None
    name_server: bool = False
    site: str = ONE_SITE


@dataclass(frozen=True, slots=True)
class Plan:
    """All hosts of a fleet with their addresses: a function of the fleet and the wiring alone."""

    fleet: Fleet
    wiring: Wiring
    ports: Ports
    hosts: tuple[Host, ...]

    def host(self, name: str) -> Host:
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    def member_host(self, cluster: str, member: str) -> Host:
        return self.host(f"{cluster}-{member}")

    def site(self, name: str) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if host.site == name)

    @property
    def control_hosts(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if host.control)

    @property
    def etcd_hosts(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if host.etcd)

    @property
    def member_hosts(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if host.member)

    @property
    def orchestrators(self) -> tuple[str, ...]:
        """As the supervisor names these daemons."""
        return tuple(f"{host.name}/orchestrator" for host in self.control_hosts)

    @property
    def etcds(self) -> tuple[str, ...]:
        return tuple(f"{host.name}/etcd" for host in self.etcd_hosts)

    @property
    def etcd_endpoints(self) -> tuple[str, ...]:
        return tuple(f"http://{host.address}:{self.ports.etcd_client}" for host in self.etcd_hosts)

    @property
    def name_servers(self) -> tuple[tuple[str, int], ...]:
        """Whom a client asks: BIND, or the answerer of every control node."""
        if self.fleet.name_server is NameServer.BIND:
            return ((self.host(NAME_SERVER_HOST).address, self.ports.dns),)
        return tuple((host.address, self.ports.dns) for host in self.control_hosts)


def plan_of(fleet: Fleet, wiring: Wiring, *, loopback_net: int = 77) -> Plan:
    """Addresses are 10.77.x.y inside our own namespaces, or 127.<loopback_net>.x.y without them.

    x says what a host is: 1 control node, 2 name server, 4 etcd alone, 5 client, 10 and above the clusters.
    """
    problems = list(fleet.mistakes())
    if problems:
        raise ValueError("; ".join(problems))
    prefix = "10.77" if wiring is Wiring.NAMESPACES else f"127.{loopback_net}"
    etcd_beside_control = fleet.etcd_count > 1 and fleet.control_count >= fleet.etcd_count
    hosts = [
        Host(
            f"control{number}",
            f"{prefix}.1.{number}",
            control=f"control{number}",
            etcd=f"etcd{number}" if etcd_beside_control and number <= fleet.etcd_count else None,
        )
        for number in range(1, fleet.control_count + 1)
    ]
    if not etcd_beside_control:
        hosts += [
            Host(f"etcd{number}", f"{prefix}.4.{number}", etcd=f"etcd{number}")
            for number in range(1, fleet.etcd_count + 1)
        ]
    if fleet.name_server is NameServer.BIND:
        # BIND listens only on addresses that an interface has: on loopback that is 127.0.0.1 alone.
        address = f"{prefix}.2.1" if wiring is Wiring.NAMESPACES else "127.0.0.1"
        hosts.append(Host(NAME_SERVER_HOST, address, name_server=True))
    for number in range(1, fleet.client_count + 1):
        hosts.append(Host(CLIENT_HOST if number == 1 else f"{CLIENT_HOST}{number}", f"{prefix}.5.{number}"))
    for index, cluster in enumerate(fleet.clusters):
        hosts += [
            Host(
                f"{cluster.name}-{member}",
                f"{prefix}.{10 + index}.{number}",
                cluster=cluster.name,
                member=member,
            )
            for number, member in enumerate(cluster.members, start=1)
        ]
    ports = Ports() if wiring is Wiring.NAMESPACES else _loopback_ports(loopback_net)
    return Plan(fleet, wiring, ports, _with_sites(fleet, hosts))


def _with_sites(fleet: Fleet, hosts: list[Host]) -> tuple[Host, ...]:
    site_of = {host: site.name for site in fleet.sites for host in site.hosts}
    unknown = sorted(set(site_of) - {host.name for host in hosts})
    if unknown:
        raise ValueError(f"a site names hosts that are not there: {', '.join(unknown)}")
    return tuple(replace(host, site=site_of.get(host.name, ONE_SITE)) for host in hosts)
