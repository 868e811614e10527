"""The agent's configuration file, checked once, all mistakes told together (deploy/examples/agent.toml).

What lives here: the file's keys, what they may be, and how they relate. Nothing is started, created or
connected to. The profile's timings are not here: the leader tells them.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from common import ids
from common.errors import BadConfig
from common.ids import ClusterName, MemberName
from common.toml_reader import Section, TomlFile

SOCKET_PATH_BYTES_MAX: Final = 90
"""sockaddr_un holds 107 bytes; PostgreSQL and its clients add names of their own."""

PROGRAMS: Final = ("postgres", "initdb", "psql", "pg_basebackup", "pg_rewind", "pg_controldata")

OWNED_SETTINGS: Final = frozenset(
    {
        "archive_cleanup_command",
        "config_file",
        "data_directory",
        "external_pid_file",
        "full_page_writes",
        "fsync",
        "hba_file",
        "hot_standby",
        "ident_file",
        "idle_replication_slot_timeout",
        "listen_addresses",
        "max_slot_wal_keep_size",
        "port",
        "primary_conninfo",
        "primary_slot_name",
        "promote_trigger_file",
        "recovery_end_command",
        "recovery_target",
        "recovery_target_timeline",
        "restart_after_crash",
        "restore_command",
        "sync_replication_slots",
        "synchronous_commit",
        "synchronous_standby_names",
        "unix_socket_directories",
        "wal_receiver_status_interval",
        "wal_receiver_timeout",
        "wal_retrieve_retry_interval",
        "wal_sender_timeout",
        "zero_damaged_pages",
    }
)
"""Names that the agent writes itself, or that would break a promise; refused under [postgres.settings]."""

_HBA_KINDS = ("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")


@dataclass(frozen=True, slots=True)
class ControlAddress:
    name: str
    address: str
    beat_port: int
    grpc_port: int


@dataclass(frozen=True, slots=True)
class TlsFiles:
    certificate_file: Path
    key_file: Path
    ca_file: Path


@dataclass(frozen=True, slots=True)
class PostgresConfig:
    bin_directory: Path
    data_directory: Path
    listen_addresses: str
    port: int
    socket_directory: Path
    superuser: str
    replication_user: str
    replication_password_file: Path
    probe_user: str
    probe_password_file: Path
    canary_user: str
    canary_password_file: Path | None
    hba: tuple[str, ...]
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AgentConfig:
    file: Path
    fleet: str
    cluster: ClusterName
    member: MemberName
    state_directory: Path
    listen_address: str
    peer_port: int
    metrics_address: str
    metrics_port: int
    """0: no HTTP."""
    tls: TlsFiles
    beat_key: bytes = field(repr=False)
    beat_key_generation: int
    control: tuple[ControlAddress, ...]
    postgres: PostgresConfig
    log_level: str
    log_json: bool | None


def load(file: Path) -> AgentConfig:
    """Raise BadConfig with every mistake at once."""
    read = TomlFile.read(file)
    top = read.top
    fleet = top.text("fleet", "main")
    cluster = top.checked("cluster", ids.cluster_name)
    member = top.checked("member", ids.member_name)
    state_directory = top.path("state_directory")
    listen = top.section("listen")
    tls = top.section("tls")
    beats = top.section("beats")
    logs = top.section("log", required=False)
    config = AgentConfig(
        file=read.path,
        fleet=fleet,
        cluster=cluster or ClusterName("x"),
        member=member or MemberName("x"),
        state_directory=state_directory,
        listen_address=_address(listen, "address"),
        peer_port=listen.port("peer_port", 7431),
        metrics_address=_address(listen, "metrics_address", "127.0.0.1"),
        metrics_port=listen.integer("metrics_port", 7434, high=65_535),
        tls=TlsFiles(
            tls.file("certificate_file"),
            tls.secret_file("key_file"),
            tls.file("ca_file"),
        ),
        beat_key=beats.hex_secret("key_file", length=32),
        beat_key_generation=beats.integer("key_generation", 1, low=1, high=65_535),
        control=_control(top),
        postgres=_postgres(top.section("postgres")),
        log_level=logs.text("level", "info", choices=("debug", "info", "warning", "error")),
        log_json=logs.boolean("json") if "json" in logs else None,
    )
    if config.postgres.data_directory == state_directory or (
        config.postgres.data_directory in state_directory.parents
    ):
        top.mistake("state_directory", "must not lie in the data directory: a clone would replace it")
    read.finish()
    return config


def refuse_root() -> None:
    """PostgreSQL does too; and an agent that is taken over must not own the host."""
    if os.geteuid() == 0:
        raise BadConfig(
            ["the agent runs as the user that owns PostgreSQL's data directory, never as root; use that user"]
        )


def _control(top: Section) -> tuple[ControlAddress, ...]:
    sections = top.sections("control")
    nodes = tuple(
        ControlAddress(
            node.text("name"),
            _address(node, "address"),
            node.port("beat_port", 7430),
            node.port("grpc_port", 7432),
        )
        for node in sections
    )
    for number, (node, section) in enumerate(zip(nodes, sections, strict=True)):
        earlier = nodes[:number]
        if any(other.name == node.name for other in earlier):
            section.mistake("name", "two control nodes have one name; every name is unique in the fleet")
        if any((other.address, other.grpc_port) == (node.address, node.grpc_port) for other in earlier):
            section.mistake("address", "two control nodes have one address and port")
    return nodes


def _postgres(section: Section) -> PostgresConfig:
    bin_directory = section.path("bin_directory")
    if bin_directory != Path():
        missing = [name for name in PROGRAMS if shutil.which(name, path=str(bin_directory)) is None]
        if missing:
            section.mistake(
                "bin_directory", f"{', '.join(missing)} cannot be run there; install PostgreSQL's server"
            )
    data_directory = section.path("data_directory")
    port = section.port("port", 5432)
    socket_directory = section.path("socket_directory")
    socket_bytes = len(os.fsencode(socket_directory / f".s.PGSQL.{port}"))
    if socket_bytes >= SOCKET_PATH_BYTES_MAX:
        section.mistake(
            "socket_directory",
            f"the socket's path has {socket_bytes} bytes; it must stay under {SOCKET_PATH_BYTES_MAX}",
        )
    users = {key: section.text(key, default) for key, default in _USERS.items()}
    if users["replication_user"] == users["probe_user"]:
        section.mistake("probe_user", "must differ from replication_user: the probe may log in anywhere")
    if users["canary_user"] in {users["replication_user"], users["probe_user"], users["superuser"]}:
        section.mistake("canary_user", "must be a role of its own: it may do nothing but write one row")
    return PostgresConfig(
        bin_directory=bin_directory,
        data_directory=data_directory,
        listen_addresses=section.text("listen_addresses", "*"),
        port=port,
        socket_directory=socket_directory,
        superuser=users["superuser"],
        replication_user=users["replication_user"],
        replication_password_file=_password(section, "replication_password_file"),
        probe_user=users["probe_user"],
        probe_password_file=_password(section, "probe_password_file"),
        canary_user=users["canary_user"],
        canary_password_file=(
            _password(section, "canary_password_file") if "canary_password_file" in section else None
        ),
        hba=_hba(section),
        settings=_settings(section.section("settings", required=False)),
    )


def _password(section: Section, key: str) -> Path:
    path = section.path(key)
    section.secret(key)  # it is read anew where it is used; here it is only checked to be there
    return path


_USERS = {
    "superuser": "postgres",
    "replication_user": "primacy_replication",
    "probe_user": "primacy_probe",
    "canary_user": "primacy_canary",
}


def _hba(section: Section) -> tuple[str, ...]:
    lines = section.texts("hba", ())
    for line in lines:
        first = (line.split() or [""])[0]
        if first not in _HBA_KINDS and not first.startswith("#"):
            section.mistake("hba", f"{line!r} does not begin with one of {', '.join(_HBA_KINDS)}")
        if "\n" in line:
            section.mistake("hba", f"{line!r} holds a line break; write one line an entry")
    return lines


def _settings(section: Section) -> Mapping[str, str]:
    settings = dict[str, str]()
    for name, value in section.remaining().items():
        if name.lower() in OWNED_SETTINGS:
            section.mistake(name, "the agent owns this setting; remove it here")
        elif isinstance(value, bool):
            settings[name] = "on" if value else "off"
        elif isinstance(value, str | int | float):
            settings[name] = str(value)
        else:
            section.mistake(name, "write the value as PostgreSQL takes it, as a text in quotes")
    return MappingProxyType(settings)


def _address(section: Section, key: str, default: str | None = None) -> str:
    text = section.text(key, default)
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if text:
            section.mistake(key, "must be an IP address")
    return text
