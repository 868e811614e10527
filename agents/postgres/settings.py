"""primacy.conf: every setting that the agent owns, in one file, included last (interfaces.md).

Pure text in, text out, but for the functions at the end, which keep PostgreSQL's own two files from
overruling it: postgresql.conf includes primacy.conf in its last line, and postgresql.auto.conf, which
PostgreSQL reads after it, holds no managed name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from agents.core.steps import Stream
from agents.postgres.config import InstanceConfig, RunAs
from agents.postgres.files import read_text, replace_durably
from agents.postgres.service_file import section_name
from common.rule import FENCE

DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        "hot_standby_feedback": "on",  # a small replay backlog is a fast promotion
        "log_line_prefix": "%m [%p] %b ",
        "max_replication_slots": "20",
        "max_slot_wal_keep_size": "16GB",
        "max_wal_senders": "20",
        "superuser_reserved_connections": "6",  # the agent's own, whatever clients do
        "synchronous_commit": "on",
        "unix_socket_permissions": "0700",
        "wal_keep_size": "1GB",
        "wal_level": "replica",
    }
)
"""The operator's settings may say otherwise."""

_WHILE_NOT_SERVING: Mapping[str, str] = MappingProxyType({"wal_init_zero": "off"})
"""Of them, the operator's settings may say otherwise too. A standby that attaches to a new timeline begins a file of WAL,
and would write and flush 16 MiB of zeros before the first commit that it could acknowledge (PostgreSQL manual, 20.5.1).
"""

_ALWAYS: Mapping[str, str] = MappingProxyType(
    {
        "fsync": "on",
        "full_page_writes": "on",
        "hot_standby": "on",
        "password_encryption": "scram-sha-256",
        "recovery_target_timeline": "latest",
        "restart_after_crash": "off",  # R8
        "restore_command": "",  # F7: a foreign history file in an archive moved the id of a promotion
        "wal_log_hints": "on",  # costs nothing beside checksums, and pg_rewind needs one of the two
        "wal_receiver_status_interval": "1s",
        "wal_receiver_timeout": "2s",
        "wal_retrieve_retry_interval": "100ms",
        "wal_sender_timeout": "3s",
    }
)
_OF_THE_INSTANCE = (
    "cluster_name",
    "hba_file",
    "ident_file",
    "listen_addresses",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "synchronous_standby_names",
    "unix_socket_directories",
)
_OF_A_VERSION = ("idle_replication_slot_timeout", "promote_trigger_file")
MANAGED = frozenset([*_ALWAYS, *_OF_THE_INSTANCE, *_OF_A_VERSION])

_LINE = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_.]*)\s*=?\s*'((?:[^']|'')*)'", re.MULTILINE)
_NAME = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_.]*)")
_APPLICATION = re.compile(r"application_name=(\S+)")
_SAMPLE_REMARK = (
    "# Every setting, explained: postgresql.conf.sample, in the folder that `pg_config --sharedir` names."
)
_INCLUDE_REMARK = "# primacy's agent keeps this the last line"


def quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def settings_text(config: InstanceConfig, major: int, rule: str, stream: Stream | None) -> str:
    own = {
        **_ALWAYS,
        "cluster_name": config.title,
        "hba_file": str(config.hba_file),
        "ident_file": str(config.ident_file),
        "listen_addresses": config.listen_addresses,
        "port": str(config.port),
        "unix_socket_directories": str(config.socket_directory),
        "synchronous_standby_names": rule,
        "primary_conninfo": "" if stream is None else conninfo(stream),
        "primary_slot_name": "" if stream is None else stream.slot,
    }
    if major == 15:
        own["promote_trigger_file"] = ""
    if major >= 17 and stream is None:
        own["sync_replication_slots"] = "off"  # V9
    if major >= 18:
        own["idle_replication_slot_timeout"] = "0"  # V15
    theirs = {name: value for name, value in config.settings.items() if name.lower() not in MANAGED}
    defaults = dict(DEFAULTS)
    if rule == FENCE:
        defaults |= _WHILE_NOT_SERVING
    parts = [
        ("# Written by primacy's agent, which replaces it.", {}),
        ("# Defaults", {name: value for name, value in defaults.items() if name not in theirs}),
        ("# From agent.toml", theirs),
        ("# The agent's own", own),
    ]
    lines = []
    for remark, values in parts:
        lines.append(remark)
        lines += [f"{name} = {quoted(value)}" for name, value in sorted(values.items())]
    return "\n".join(lines) + "\n"


def conninfo(stream: Stream) -> str:
    return f"service={section_name(stream.epoch)} application_name={stream.application_name}"


def read_settings(text: str | None) -> tuple[str | None, str]:
    """(synchronous_standby_names, application_name followed under); (None, '') when there is no file."""
    if text is None:
        return None, ""
    values = {name: value.replace("''", "'").replace("\\\\", "\\") for name, value in _LINE.findall(text)}
    found = _APPLICATION.search(values.get("primary_conninfo", ""))
    return values.get("synchronous_standby_names"), "" if found is None else found[1]


def overruled(config: InstanceConfig) -> list[str]:
    """Settings of agent.toml that the agent owns itself and therefore ignores."""
    return sorted(name for name in config.settings if name.lower() in MANAGED)


def without_sample(text: str) -> str:
    """What initdb has set, without the manual's worth of remarks around it, through which every process of PostgreSQL
    would read at every reload: half of what a reload takes, and a failover has three."""
    kept = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return "\n".join([_SAMPLE_REMARK, *kept]) + "\n"


def include_last(data_directory: Path, settings_file: Path, owner: RunAs | None) -> None:
    """Whoever starts PostgreSQL, by hand even, gets the fence and the closed hba file."""
    path = data_directory / "postgresql.conf"
    text = read_text(path) or ""
    kept = [line for line in text.splitlines() if _INCLUDE_REMARK not in line]
    wanted = "\n".join([*kept, f"include {quoted(str(settings_file))}  {_INCLUDE_REMARK}"]) + "\n"
    if wanted != text:
        replace_durably(path, wanted.encode(), owner)


def purge_auto_conf(data_directory: Path, owner: RunAs | None) -> list[str]:
    """Answers the managed names that were found there, and removed."""
    path = data_directory / "postgresql.auto.conf"
    text = read_text(path)
    if not text:
        return []
    kept, removed = [], []
    for line in text.splitlines():
        name = _NAME.match(line)
        if name is not None and name[1].lower() in MANAGED:
            removed.append(name[1])
        else:
            kept.append(line)
    if removed:
        replace_durably(path, ("\n".join(kept) + "\n").encode(), owner)
    return removed
