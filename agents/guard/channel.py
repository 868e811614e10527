"""What agent and guard tell each other, over a socket pair that keeps messages apart (SOCK_SEQPACKET).

The agent's end is inherited; its number stands in the environment. Either side reads the end of file as the
other's death. Standard library only.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass, fields
from typing import Any

FD_VARIABLE = "PRIMACY_GUARD_FD"
MESSAGE_BYTES_MAX = 8192
UNREAD_BYTES_MAX = 16 * 1024
"""Some twenty reports, two seconds of them: a side that was frozen finds no older ones when it goes on."""


@dataclass(frozen=True)
class Report:
    """Agent to guard, on each change and several times a lease. Also how a guard tells its successor."""

    data_directory: str = ""
    deadline_us: int | None = None
    """On CLOCK_BOOTTIME, of an open primary; None: nothing is open."""
    program: str = ""
    """The postmaster's executable, so that only PostgreSQL is ever killed."""
    rule: str | None = None
    """synchronous_standby_names that a commit of reason (b) must be made under; None: no commit counts."""
    lease_us: int = 5_000_000
    margin_us: int = 500_000
    psql: tuple[str, ...] = ()
    """The command that connects as the superuser; empty: the guard can't make the commit."""


@dataclass(frozen=True)
class Word:
    """Guard to agent."""

    deadline_us: int | None = None
    """As the guard knows it; it only ever makes the agent's grow."""
    rest: bool = False
    """Do nothing more to PostgreSQL: it is about to be stopped."""


def send(end: socket.socket, message: Report | Word) -> bool:
    """Raise OSError when the other side is gone. False: its buffer is full, it does not read; a newer message
    will follow."""
    try:
        end.send(json.dumps(asdict(message)).encode(), socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    return True


def decode_report(data: bytes) -> Report:
    """Raise ValueError. Unknown fields are left out: agent and guard may differ while one is upgraded."""
    values = _known(Report, data)
    if "psql" in values:
        values["psql"] = tuple(values["psql"])
    return Report(**values)


def decode_word(data: bytes) -> Word:
    """Raise ValueError."""
    return Word(**_known(Word, data))


def _known(kind: type, data: bytes) -> dict[str, Any]:
    values = json.loads(data)
    if not isinstance(values, dict):
        raise ValueError(f"not an object: {values!r}")
    names = {entry.name for entry in fields(kind)}
    return {name: value for name, value in values.items() if name in names}
