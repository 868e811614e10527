"""A canary in a process of its own, and what it says over a pipe.

So neither holds the other up: the leader's turns do not make the canary late, and its fifty writes a second do
not make the leader late. Both are on one host, so an Instant of the one is an Instant of the other. The order goes
in by stdin, the password with it; when stdin ends, the leader is gone, and the canary ends too.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from common.codec import decode, encode
from common.errors import OutcomeUnknown
from common.timebase import Instant
from orchestrator.egress.dns_key import ServerAddress
from orchestrator.ports import CanaryEar, CanaryTarget

TEXT_MAX: Final = 400
_COMMAND: Final = (sys.executable, "-m", "orchestrator.egress.canary_child")
_ENDS_WITHIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Order:
    target: CanaryTarget
    user: str
    password: str = field(repr=False)
    name_servers: tuple[ServerAddress, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One call of the ear; `outcome` is empty for an acknowledgement, and `begun_at` without meaning for the others."""

    at: Instant
    stalled_us: int
    begun_at: Instant = Instant(0)
    what: str = "write"
    outcome: str = ""
    text: str = ""


class CanaryProcess:
    def __init__(
        self, *, user: str, password: str, name_servers: Mapping[str, Sequence[ServerAddress]]
    ) -> None:
        """`name_servers` by zone."""
        self._user, self._password, self._name_servers = user, password, name_servers

    async def run(self, target: CanaryTarget, ear: CanaryEar) -> None:
        """Until cancelled. Raise OutcomeUnknown when the process ended; OSError when it can't be begun."""
        servers = tuple(self._name_servers.get(target.zone, ()))
        child = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is the leader's
        )
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(encode(Order(target, self._user, self._password, servers)) + b"\n")
            while text := await child.stdout.readline():
                _hear(decode(text, Line), ear)
            raise OutcomeUnknown("the canary's process ended")
        finally:
            await _end(child)


def _hear(line: Line, ear: CanaryEar) -> None:
    if line.outcome:
        ear.failed(line.what, line.outcome, line.at, line.text, line.stalled_us)
    else:
        ear.acknowledged(line.at, line.begun_at, line.stalled_us)


async def _end(child: asyncio.subprocess.Process) -> None:
    """It has nothing to put in order: PostgreSQL ends its session when the socket closes."""
    if child.returncode is None:
        child.kill()
        await asyncio.wait({asyncio.ensure_future(child.wait())}, timeout=_ENDS_WITHIN_S)
