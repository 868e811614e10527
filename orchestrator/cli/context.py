"""How the control nodes are reached: from options, the environment, or the operator's context file.

Each setting is taken from the first of the three that has it, and remembers where it came from, so that
`primacy context show` can say it. What is wrong is said all at once, before anything is dialled.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import BadConfig
from common.toml_reader import did_you_mean

DEFAULT_PORT = 7432
CONTROL, CERTIFICATE, KEY, AUTHORITY = "control", "tls.certificate_file", "tls.key_file", "tls.ca_file"
OPTIONS: Mapping[str, str] = {
    CONTROL: "--control",
    CERTIFICATE: "--tls-cert",
    KEY: "--tls-key",
    AUTHORITY: "--tls-ca",
}
VARIABLES: Mapping[str, str] = {
    CONTROL: "PRIMACY_CONTROL",
    CERTIFICATE: "PRIMACY_TLS_CERT",
    KEY: "PRIMACY_TLS_KEY",
    AUTHORITY: "PRIMACY_TLS_CA",
}


@dataclass(frozen=True, slots=True)
class Setting:
    value: str
    origin: str
    """`option --control`, `environment PRIMACY_CONTROL`, or the context file's path."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Checked: every file could be read, and the key belongs to the certificate."""

    control: tuple[str, ...]
    certificate: bytes
    key: bytes
    authority: bytes


def context_file() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(folder) if folder.startswith("/") else Path.home() / ".config"
    return base / "primacy" / "context.toml"


def settings(given: Mapping[str, Setting], file: Path) -> dict[str, Setting]:
    """`given` (options, environment) first, then the file. Raise BadConfig for a file that is wrong."""
    return {**_from_file(file), **given}


def connection(found: Mapping[str, Setting], file: Path) -> Connection:
    """Raise BadConfig with every mistake."""
    mistakes = [
        f"{key} is not set; give {OPTIONS[key]}, set {VARIABLES[key]}, or keep it in {file} "
        f"by `primacy context set {OPTIONS[key]} …`"
        for key in OPTIONS
        if key not in found
    ]
    addresses: list[str] = []
    if CONTROL in found:
        for text in (part.strip() for part in found[CONTROL].value.split(",")):
            try:
                addresses.append(address(text))
            except ValueError as error:
                mistakes.append(f"{found[CONTROL].origin}: {CONTROL} = {found[CONTROL].value!r}: {error}")
    pem = {key: _read(key, found[key], mistakes) for key in (CERTIFICATE, KEY, AUTHORITY) if key in found}
    if not mistakes:
        _check_pair(found, mistakes)
    if mistakes:
        raise BadConfig(mistakes)
    return Connection(tuple(dict.fromkeys(addresses)), pem[CERTIFICATE], pem[KEY], pem[AUTHORITY])


def address(text: str) -> str:
    """`host:port` with the default port filled in. Raise ValueError with the remedy."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[^\s:\[\]/]+)(?::(\d{1,5}))?", text)
    if found is None:
        raise ValueError(
            f"{text!r} is not host:port; write it like 10.77.1.1:{DEFAULT_PORT} or [fd00::1]:{DEFAULT_PORT}"
        )
    port = int(found[2] or DEFAULT_PORT)
    if not 1 <= port <= 65535:
        raise ValueError(f"the port of {text!r} must lie between 1 and 65535")
    return f"{found[1]}:{port}"


def save(values: Mapping[str, str], file: Path) -> None:
    """Replace the context file, readable by its owner alone. Raise BadConfig where it can't be written."""
    lines = ["# Written by `primacy context set`; read by every `primacy` command.\n"]
    if CONTROL in values:
        addresses = ", ".join(_quoted(part) for part in values[CONTROL].split(","))
        lines.append(f"control = [{addresses}]\n")
    lines.append("\n[tls]\n")
    lines += [
        f"{key.removeprefix('tls.')} = {_quoted(values[key])}\n"
        for key in OPTIONS
        if key in values and key != CONTROL
    ]
    new = file.with_suffix(".new")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.writelines(lines)
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
    except OSError as error:
        raise BadConfig([f"{file}: can't be written: {error.strerror}"]) from error


def _quoted(text: str) -> str:
    """A TOML basic string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _from_file(file: Path) -> dict[str, Setting]:
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            document = tomllib.load(opened)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadConfig([f"{file}: can't be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(
            [f"{file}: is not TOML: {error}; mend it, or remove it and use `primacy context set`"]
        ) from error
    mistakes: list[str] = []
    if mode & 0o022:
        # Who may write this file decides which control nodes we believe.
        mistakes.append(f"{file}: others may write it (mode {mode:04o}); run: chmod 600 {file}")
    found: dict[str, Setting] = {}
    for key, value in _flat(document):
        if key not in OPTIONS:
            near = did_you_mean(key, tuple(OPTIONS)) or f"; known are {', '.join(OPTIONS)}"
            mistakes.append(f"{file}: {key} = {value!r}: is not a known key{near}")
        elif isinstance(value, str):
            found[key] = Setting(value, str(file))
        elif key == CONTROL and isinstance(value, list) and value and all(isinstance(v, str) for v in value):
            found[key] = Setting(",".join(value), str(file))
        else:
            wanted = 'a list such as ["10.77.1.1:7432"]' if key == CONTROL else "a path in quotes"
            mistakes.append(f"{file}: {key} = {value!r}: must be {wanted}")
    if mistakes:
        raise BadConfig(mistakes)
    return found


def _flat(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in document.items():
        flat += [(f"{key}.{k}", v) for k, v in value.items()] if isinstance(value, dict) else [(key, value)]
    return flat


def _read(key: str, setting: Setting, mistakes: list[str]) -> bytes:
    """Empty when it was complained about."""
    path = Path(setting.value).expanduser()
    try:
        with path.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            content = opened.read()
    except OSError as error:
        mistakes.append(f"{setting.origin}: {key} = {setting.value!r}: can't be read: {error.strerror}")
        return b""
    if key == KEY and mode & 0o077:
        mistakes.append(
            f"{setting.origin}: {key} = {setting.value!r}: others may read it (mode {mode:04o}); "
            f"run: chmod 600 {path}"
        )
    if b"-----BEGIN" not in content:
        mistakes.append(
            f"{setting.origin}: {key} = {setting.value!r}: is not PEM, a file that begins with -----BEGIN"
        )
    return content


def _check_pair(found: Mapping[str, Setting], mistakes: list[str]) -> None:
    """Whether key and certificate belong together; TLS itself would only say `handshake failed`."""
    checked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    certificate, key = (Path(found[k].value).expanduser() for k in (CERTIFICATE, KEY))
    try:
        checked.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        mistakes.append(
            f"{found[KEY].origin}: {KEY} = {found[KEY].value!r} does not go with {CERTIFICATE} = "
            f"{found[CERTIFICATE].value!r} ({reason}); "
            "give the pair that was issued together, the key without a password"
        )
    try:
        checked.load_verify_locations(Path(found[AUTHORITY].value).expanduser())
    except ssl.SSLError as error:
        mistakes.append(
            f"{found[AUTHORITY].origin}: {AUTHORITY} = {found[AUTHORITY].value!r}: is not a certificate "
            f"({error.reason}); give the certificate of the fleet's authority"
        )
