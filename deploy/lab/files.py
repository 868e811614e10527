"""The files of every host: keys, certificates, passwords and the daemons' configuration.

    <run>/hosts/<host>/          the host's own folder, its daemons' working directory
    <run>/hosts/<host>/pg/       PostgreSQL's data directory (made by the agent)
    <run>/hosts/<host>/state/    what the agent stores
    <run>/s/<host>/              socket folder, short because PostgreSQL limits the path
    <run>/people/                the operator's certificate and the cluster files
    <run>/logs/                  one file for each daemon

Secrets have mode 0600 and belong to the user whose daemon reads them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.lab.ca import Authority
from deploy.lab.fleet import Cluster, Host, NameServer, Plan
from deploy.lab.programs import Programs, User
from deploy.lab.toml_text import Value, toml_text

APP_USER = APP_DATABASE = "app"
OPERATOR = "lab"
KEY_GENERATION = 1


@dataclass(frozen=True, slots=True)
class Tsig:
    """The key with which control nodes change the zone; `secret` is base64."""

    name: str
    algorithm: str
    secret: str


@dataclass(frozen=True, slots=True)
class Secrets:
    beat: bytes
    replication_password: str
    probe_password: str
    canary_password: str
    app_password: str

    @classmethod
    def drawn(cls) -> Secrets:
        return cls(secrets.token_bytes(32), *(secrets.token_hex(16) for _ in range(4)))


def member_key(secret: bytes, cluster: str, member: str, generation: int = KEY_GENERATION) -> bytes:
    """As interfaces.md derives it; only this lies with the agent."""
    return hashlib.blake2b(
        f"beat|{cluster}|{member}|{generation}".encode(), key=secret, digest_size=32
    ).digest()


class Files:
    def __init__(self, folder: Path, plan: Plan, programs: Programs) -> None:
        self.folder = folder
        self.plan = plan
        self.programs = programs
        self.secrets = Secrets.drawn()
        self._authority = Authority(f"Primacy lab {plan.fleet.name}")
        self.people = folder / "people"
        self.logs = folder / "logs"

    def host_folder(self, host: Host) -> Path:
        return self.folder / "hosts" / host.name

    def data_directory(self, host: Host) -> Path:
        return self.host_folder(host) / "pg"

    def socket_directory(self, host: Host) -> Path:
        return self.folder / "s" / host.name

    def config_file(self, host: Host, daemon: str) -> Path:
        return self.host_folder(host) / f"{daemon}.toml"

    def cluster_file(self, cluster: str) -> Path:
        return self.people / f"{cluster}.toml"

    def user_of(self, host: Host) -> User:
        return self.programs.postgres_user if host.member else self.programs.control_user

    def write_all(self, *, tsig: Tsig | None, give_disk: Callable[[Host], None] | None = None) -> None:
        """`give_disk` is called for each member whose folder was made, before anything is written there."""
        for folder in (self.folder / "hosts", self.folder / "s", self.logs, self.people):
            folder.mkdir(mode=0o755)
        for host in self.plan.hosts:
            self._folder_of(self.host_folder(host), self.user_of(host))
            if host.member and give_disk is not None:
                give_disk(host)
            if host.control:
                self._write_control(host, tsig)
            if host.member:
                self._write_member(host)
        self._write_people()

    def _write_control(self, host: Host, tsig: Tsig | None) -> None:
        assert host.control is not None
        folder, user, ports = self.host_folder(host), self.user_of(host), self.plan.ports
        beat_secret = self._secret(folder / "beat.secret", self.secrets.beat.hex(), user)
        probe_password = self._secret(folder / "probe.password", self.secrets.probe_password, user)
        document: dict[str, Value] = {
            "name": host.control,
            "fleet": self.plan.fleet.name,
            "data_directory": str(self._folder_of(folder / "data", user)),
            "listen": {
                "address": host.address,
                "beat_port": ports.beat,
                "grpc_port": ports.grpc,
                "http_port": ports.http,
            },
            "advertise": {"address": host.address},
            "tls": self._certificate(folder, f"control:{host.control}", host, user),
            "beats": {"secret_file": beat_secret},
            "etcd": {"endpoints": self.plan.etcd_endpoints},
            "probe": {"user": "primacy_probe", "database": "postgres", "password_file": probe_password},
            "canary": {
                "password_file": self._secret(folder / "canary.password", self.secrets.canary_password, user)
            },
            "dns": [self._dns_section(host, tsig)],
        }
        self._text(self.config_file(host, "orchestrator"), toml_text(document), user)

    def _dns_section(self, host: Host, tsig: Tsig | None) -> dict[str, Value]:
        zone = self.plan.fleet.zone
        if self.plan.fleet.name_server is NameServer.ANSWERER:
            return {"kind": "answerer", "zone": zone, "listen": host.address, "port": self.plan.ports.dns}
        assert tsig is not None
        ((server, port),) = self.plan.name_servers
        folder, user = self.host_folder(host), self.user_of(host)
        return {
            "kind": "rfc2136",
            "zone": zone,
            "server": server,
            "port": port,
            "key_name": tsig.name,
            "key_file": self._secret(folder / "tsig.key", tsig.secret, user),
            "key_algorithm": tsig.algorithm,
            "verify": [f"{server}:{port}"],
        }

    def _write_member(self, host: Host) -> None:
        assert host.cluster is not None
        assert host.member is not None
        folder, user, ports = self.host_folder(host), self.user_of(host), self.plan.ports
        key = member_key(self.secrets.beat, host.cluster, host.member)
        # On loopback the kernel picks 127.0.0.1 as a client's own address, whatever host it plays.
        on_loopback = host.address.startswith("127.")
        subnet = "127.0.0.0/8" if on_loopback else f"{'.'.join(host.address.split('.')[:2])}.0.0/16"
        document: dict[str, Value] = {
            "fleet": self.plan.fleet.name,
            "cluster": host.cluster,
            "member": host.member,
            "state_directory": str(self._folder_of(folder / "state", user)),
            "listen": {
                "address": host.address,
                "peer_port": ports.peer,
                # On loopback all hosts share 127.0.0.1, so the agent's metrics move to its own address.
                "metrics_address": host.address if host.address.startswith("127.") else "127.0.0.1",
                "metrics_port": ports.agent_metrics,
            },
            "tls": self._certificate(folder, f"agent:{host.cluster}/{host.member}", host, user),
            "beats": {
                "key_file": self._secret(folder / "beat.key", key.hex(), user),
                "key_generation": KEY_GENERATION,
            },
            "control": [
                {
                    "name": control.control or "",
                    "address": control.address,
                    "beat_port": ports.beat,
                    "grpc_port": ports.grpc,
                }
                for control in self.plan.control_hosts
            ],
            "postgres": {
                "bin_directory": str(self.programs.postgres_bin),
                "data_directory": str(self.data_directory(host)),
                "listen_addresses": host.address,
                "port": ports.postgres,
                "socket_directory": str(self._folder_of(self.socket_directory(host), user)),
                "superuser": "postgres",
                "replication_user": "primacy_replication",
                "replication_password_file": self._secret(
                    folder / "replication.password", self.secrets.replication_password, user
                ),
                "probe_user": "primacy_probe",
                "probe_password_file": self._secret(
                    folder / "probe.password", self.secrets.probe_password, user
                ),
                "canary_password_file": self._secret(
                    folder / "canary.password", self.secrets.canary_password, user
                ),
                # The socket's folder has mode 0700, so `trust` there admits the lab and nobody else.
                "hba": ["local all all trust", f"host all all {subnet} scram-sha-256"],
                # A killed PostgreSQL leaves its segments behind: in its own folder, not in /dev/shm.
                "settings": {
                    "dynamic_shared_memory_type": "mmap",
                    "shared_buffers": "32MB",
                    "max_connections": "50",
                },
            },
        }
        self._text(self.config_file(host, "agent"), toml_text(document), user)

    def _write_people(self) -> None:
        me = User.ourselves()
        self._certificate(self.people, f"operator:{OPERATOR}", None, me)
        for cluster in self.plan.fleet.clusters:
            text = toml_text(self._cluster_document(cluster))
            self._text(self.cluster_file(cluster.name), text, me)

    def _cluster_document(self, cluster: Cluster) -> dict[str, Value]:
        owner = self.programs.postgres_user.name
        members: list[dict[str, Value]] = []
        for name in cluster.members:
            host = self.plan.member_host(cluster.name, name)
            member: dict[str, Value] = {
                "name": name,
                "host": host.name,
                "address": host.address,
                "port": self.plan.ports.postgres,
                "owner": owner,
                "site": host.site,
                "priority": 100,
                "nofailover": name in cluster.nofailover,
            }
            members.append(member)
        return {
            "name": cluster.name,
            "zone": self.plan.fleet.zone,
            "durability": cluster.durability,
            "k": cluster.k,
            "profile": cluster.profile,
            "canary": cluster.canary,
            "member": members,
        }

    def _certificate(self, folder: Path, identity: str, host: Host | None, user: User) -> dict[str, Value]:
        addresses = (host.address,) if host else ()
        stem = "operator" if host is None else "daemon"
        issued = self._authority.issue(identity, addresses=addresses)
        certificate_file, key_file = issued.write(folder, stem)
        ca_file = folder / "ca.crt"
        ca_file.write_bytes(self._authority.certificate_pem)
        _own(key_file, user)
        return {"certificate_file": str(certificate_file), "key_file": str(key_file), "ca_file": str(ca_file)}

    def _secret(self, path: Path, text: str, user: User) -> str:
        path.touch(mode=0o600)
        path.write_text(text + "\n")
        _own(path, user)
        return str(path)

    def _text(self, path: Path, text: str, user: User) -> None:
        path.write_text(text)
        _own(path, user)

    def _folder_of(self, path: Path, user: User) -> Path:
        path.mkdir(mode=0o700)
        _own(path, user)
        return path


def _own(path: Path, user: User) -> None:
    if os.geteuid() == 0:
        os.chown(path, user.uid, user.gid)
