"""The options of one control node, read and checked once (`deploy/examples/orchestrator.toml`).

Every mistake is told at once, with file, key, value and remedy. Nothing is read from the environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from common.toml_reader import Section, TomlFile

SECRET_BYTES: Final = 32
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
FLEET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
ZONE = re.compile(r"([a-z0-9_-]+\.)+", re.IGNORECASE)
KEY_ALGORITHMS: Final = ("hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
_EVERYWHERE: Final = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Rfc2136Config:
    zone: str
    server: str
    port: int
    key_name: str
    key_secret: str = field(repr=False)
    key_algorithm: str = "hmac-sha256"
    verify: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswererConfig:
    zone: str
    listen: str
    port: int


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM, as read at start."""

    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EtcdConfig:
    endpoints: tuple[str, ...]
    tls: TlsFiles | None
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ProbeConfig:
    user: str
    database: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CanaryConfig:
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Config:
    name: str
    fleet: str
    data_directory: Path
    listen: str
    beat_port: int
    grpc_port: int
    http_port: int
    advertise: str
    tls: TlsFiles
    beat_secret: bytes = field(repr=False)
    etcd: EtcdConfig
    probe: ProbeConfig
    dns: tuple[Rfc2136Config | AnswererConfig, ...]
    log_level: str = "info"
    canary: CanaryConfig | None = None
    """None: no cluster of this fleet may have `canary = true`."""

    @property
    def address(self) -> str:
        """Where agents, people and the other control nodes reach our gRPC port."""
        host = f"[{self.advertise}]" if ":" in self.advertise else self.advertise
        return f"{host}:{self.grpc_port}"


def read(path: Path) -> Config:
    """Raise BadConfig with everything that is wrong."""
    file = TomlFile.read(path)
    config = _read(file.top)
    file.finish()
    return config


def _read(top: Section) -> Config:
    name = _matching(top, "name", NAME, "use a-z, 0-9 and inner '-' (at most 63), as in the certificate")
    fleet = _matching(top, "fleet", FLEET, "use letters, digits, '.', '_' or '-'")
    data_directory = top.path("data_directory")
    if data_directory != Path() and not data_directory.is_dir():
        top.mistake("data_directory", f"there is no directory {data_directory}; make it, owned by this user")
    log_level = top.text("log_level", "info", choices=("debug", "info", "warning", "error"))
    listening = top.section("listen")
    listen = _address(listening, "address")
    beat_port = listening.port("beat_port", 7430)
    grpc_port = listening.port("grpc_port", 7432)
    http_port = listening.port("http_port", 7433)
    if grpc_port == http_port:
        listening.mistake("http_port", "grpc_port has the same number; give each a port of its own")
    advertising = top.section("advertise", required=False)
    advertise = _address(advertising, "address", listen)
    if advertise in _EVERYWHERE:
        listening.mistake("address", "add [advertise] address: where do the others reach this one?")
    dns = tuple(_name_server(section) for section in top.sections("dns", required=False))
    return Config(
        name=name,
        fleet=fleet,
        data_directory=data_directory,
        listen=listen,
        beat_port=beat_port,
        grpc_port=grpc_port,
        http_port=http_port,
        advertise=advertise,
        tls=_tls(top.section("tls")),
        beat_secret=top.section("beats").hex_secret("secret_file", length=SECRET_BYTES),
        etcd=_etcd(top.section("etcd")),
        probe=_probe(top.section("probe")),
        dns=dns,
        log_level=log_level,
        canary=_canary(top.section("canary", required=False)) if "canary" in top else None,
    )


def _matching(section: Section, key: str, form: re.Pattern[str], remedy: str) -> str:
    def check(value: str) -> str:
        if not form.fullmatch(value):
            raise ValueError(remedy)
        return value

    return section.checked(key, check) or ""


def _address(section: Section, key: str, default: str | None = None) -> str:
    def check(value: str) -> str:
        try:
            return str(ip_address(value))
        except ValueError as error:
            raise ValueError("must be an IP address: nothing here may hang on names") from error

    return section.checked(key, check, default) or ""


def _content(path: Path) -> bytes:
    """Empty when it can't be read: the mistake was noted by who asked for the path."""
    try:
        return path.read_bytes() if path != Path() else b""
    except OSError:
        return b""


def _tls(section: Section) -> TlsFiles:
    ca, certificate = section.file("ca_file"), section.file("certificate_file")
    files = TlsFiles(_content(ca), _content(certificate), _content(section.secret_file("key_file")))
    for key, content in (("ca_file", files.ca), ("certificate_file", files.certificate)):
        if content and b"-----BEGIN CERTIFICATE-----" not in content:
            section.mistake(key, "holds no certificate in PEM")
    if files.key and b"PRIVATE KEY-----" not in files.key:
        section.mistake("key_file", "holds no private key in PEM")
    return files


def _etcd(section: Section) -> EtcdConfig:
    endpoints = section.texts("endpoints")
    if not endpoints:
        section.mistake("endpoints", 'name at least one: ["http://10.77.1.1:2379"]')
    secure = {endpoint.startswith("https://") for endpoint in endpoints}
    for endpoint in endpoints:
        if not re.fullmatch(r"https?://[^/]+:[0-9]+/?", endpoint):
            section.mistake("endpoints", f"{endpoint!r}: write http://HOST:PORT or https://HOST:PORT")
    if len(secure) > 1:
        section.mistake("endpoints", "all must be http:// or all https://")
    tls: TlsFiles | None = None
    if True in secure or "ca_file" in section:
        tls = _tls(section)
        if False in secure:
            section.mistake("ca_file", "certificates are given, so write https:// in endpoints")
    user = section.text("user", "")
    password = section.secret("password_file") if user else ""
    return EtcdConfig(endpoints, tls, user, password)


def _probe(section: Section) -> ProbeConfig:
    return ProbeConfig(
        user=section.text("user", "primacy_probe"),
        database=section.text("database", "postgres"),
        password=section.secret("password_file"),
    )


def _canary(section: Section) -> CanaryConfig:
    return CanaryConfig(user=section.text("user", "primacy_canary"), password=section.secret("password_file"))


def _name_server(section: Section) -> Rfc2136Config | AnswererConfig:
    kind = section.text("kind", choices=("rfc2136", "answerer"))
    zone = _matching(section, "zone", ZONE, "write a full name with its final dot")
    if kind == "answerer":
        return AnswererConfig(zone, _address(section, "listen"), section.port("port", 53))
    return Rfc2136Config(
        zone=zone,
        server=_address(section, "server"),
        port=section.port("port", 53),
        key_name=section.text("key_name"),
        key_secret=section.secret("key_file"),
        key_algorithm=section.text("key_algorithm", "hmac-sha256", choices=KEY_ALGORITHMS),
        verify=section.texts("verify", ()),
    )
