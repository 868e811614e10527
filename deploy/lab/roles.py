"""Which process of a host is meant: what each kind is called where it runs. The first half is pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path


class Role(Enum):
    POSTMASTER = "postmaster"
    BACKEND = "backend"
    """A session of a client, not one of Primacy's own."""
    WALSENDER = "walsender"
    WALRECEIVER = "walreceiver"
    STARTUP = "startup"
    CHECKPOINTER = "checkpointer"
    AGENT = "agent"
    GUARD = "guard"
    ORCHESTRATOR = "orchestrator"
    ETCD = "etcd"
    NAMED = "named"


# What PostgreSQL's setting of that name puts before every title, such as `shop/a: `.
_CLUSTER_NAME = re.compile(r"^\S+/\S+: ")
_TITLES = (
    ("walsender ", Role.WALSENDER),
    ("walreceiver", Role.WALRECEIVER),
    ("startup", Role.STARTUP),
    ("checkpointer", Role.CHECKPOINTER),
)
_MODULES = {
    "agents.main": Role.AGENT,
    "agents.guard.main": Role.GUARD,
    "orchestrator.main": Role.ORCHESTRATOR,
}


def role_of(words: Sequence[str], client_role: str) -> Role | None:
    """`words`: the command line. PostgreSQL writes a title into the first word: `postgres: app postgres …`."""
    if not words or not words[0]:
        return None
    title = words[0]
    if title.startswith("postgres: "):
        said = _CLUSTER_NAME.sub("", title.removeprefix("postgres: "))
        for beginning, role in _TITLES:
            if said.startswith(beginning):
                return role
        return Role.BACKEND if said.startswith(f"{client_role} ") else None
    program = Path(title).name
    if program == "postgres":
        return Role.POSTMASTER
    if program in ("etcd", "named"):
        return Role(program)
    # A daemon that is still a command for entering its host (nsenter, unshare) is not there yet.
    if not program.startswith("python"):
        return None
    return next((role for module, role in _MODULES.items() if module in words), None)


def pids_in_role(pids: Iterable[int], role: Role, client_role: str) -> list[int]:
    return sorted(pid for pid in pids if role_of(command_line(pid), client_role) is role)


def command_line(pid: int) -> list[str]:
    """Empty for a process that is gone, or a zombie."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return raw.rstrip(b"\0").decode(errors="replace").split("\0")
