"""TSIG keys as `tsig-keygen` writes them, and the addresses of name servers as people write them.

Only what an operator's file or setting says about a name server; the sockets are in `dns_exchange`.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import dns.exception
import dns.name
import dns.tsig

from common.errors import BadConfig
from orchestrator.core.names import normal_name

_ALGORITHMS: Final = {
    "hmac-sha224": dns.tsig.HMAC_SHA224,
    "hmac-sha256": dns.tsig.HMAC_SHA256,
    "hmac-sha384": dns.tsig.HMAC_SHA384,
    "hmac-sha512": dns.tsig.HMAC_SHA512,
}
"""MD5 and SHA-1 are left out: every server that can do TSIG today can do SHA-256."""

_KEY = re.compile(r'key\s+"?(?P<name>[^"\s{]+)"?\s*\{(?P<body>[^}]*)\}\s*;', re.DOTALL)
_ITEM = re.compile(r'(?P<word>algorithm|secret)\s+"?(?P<value>[^";\s]+)"?\s*;')
_COMMENT = re.compile(r"//[^\n]*|#[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TsigKey:
    name: str
    algorithm: str
    secret: bytes = field(repr=False)  # never in a log line

    def for_dnspython(self) -> dns.tsig.Key:
        return dns.tsig.Key(self.name, self.secret, _ALGORITHMS[self.algorithm])


def read_key_file(path: Path, *, name: str = "", algorithm: str = "hmac-sha256") -> TsigKey:
    """A key statement as `tsig-keygen` writes it, or the base64 secret alone (then `name` is needed).

    Every mistake is named together with the file and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode & 0o777
    except (OSError, UnicodeDecodeError) as trouble:
        raise BadConfig([f"{path}: the TSIG key can't be read: {trouble}"]) from trouble
    if mode & 0o007:
        raise BadConfig([f"{path}: others may read the TSIG key (mode {mode:o}); run: chmod o= {path}"])
    if "{" not in text:
        return make_key(name=name, algorithm=algorithm, secret=text.strip(), source=str(path))
    key = parse_key(text, source=str(path))
    if name and normal_name(name) != normal_name(key.name):
        raise BadConfig([f"{path}: holds key {key.name!r}, configured is {name!r}; make them agree"])
    return key


def parse_key(text: str, *, source: str) -> TsigKey:
    """`key "name" { algorithm hmac-sha256; secret "..."; };`, as in named.conf."""
    # A secret may hold "//", so comments are taken away only when that leaves exactly one key.
    found = list(_KEY.finditer(text))
    if len(found) != 1:
        found = list(_KEY.finditer(_COMMENT.sub("", text)))
    if len(found) != 1:
        raise BadConfig([f"{source}: {len(found)} keys found, exactly one wanted; make it with tsig-keygen"])
    items = {item["word"]: item["value"] for item in _ITEM.finditer(found[0]["body"])}
    return make_key(
        name=found[0]["name"],
        algorithm=items.get("algorithm", ""),
        secret=items.get("secret", ""),
        source=source,
    )


def make_key(*, name: str, algorithm: str, secret: str, source: str) -> TsigKey:
    mistakes: list[str] = []
    if algorithm.lower() not in _ALGORITHMS:
        mistakes.append(f"{source}: algorithm {algorithm or 'missing'}; use one of {', '.join(_ALGORITHMS)}")
    try:
        dns.name.from_text(name)
    except dns.exception.DNSException as trouble:
        mistakes.append(f"{source}: {name!r} is no name for a key ({trouble})")
    if not name:
        mistakes.append(f"{source}: the key has no name; set key_name to the one that the server knows")
    try:
        decoded = base64.b64decode(secret, validate=True)
    except binascii.Error as trouble:
        mistakes.append(f"{source}: the secret is no base64 ({trouble}); make it with tsig-keygen")
    else:
        if len(decoded) >= 16 and not mistakes:
            return TsigKey(name=name, algorithm=algorithm.lower(), secret=decoded)
        if len(decoded) < 16:
            mistakes.append(f"{source}: the secret has {len(decoded)} bytes; at least 16 are wanted")
    raise BadConfig(mistakes)


@dataclass(frozen=True, slots=True, order=True)
class ServerAddress:
    """An address, never a host name: a name server must be reachable when names don't resolve."""

    host: str
    port: int = 53

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """`192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1`, `[2001:db8::1]:5353`."""
        host, port = text, 53
        bracketed = re.fullmatch(r"\[([^\]]+)\](?::([0-9]+))?", text)
        if bracketed is not None:
            host, port = bracketed[1], int(bracketed[2] or 53)
        elif text.count(":") == 1:
            host, _, digits = text.partition(":")
            port = int(digits) if digits.isascii() and digits.isdigit() else -1
        try:
            ip_address(host)
        except ValueError as trouble:
            raise BadConfig([f"{text!r} is not the address of a name server: {trouble}"]) from trouble
        if not 0 < port < 65536:
            raise BadConfig([f"{text!r} has no usable port; write ADDRESS or ADDRESS:PORT"])
        return cls(host=host, port=port)

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"
