"""What the agent's shell needs of PostgreSQL: a port that `agents/postgres` fulfils."""

from __future__ import annotations

from typing import Protocol

from agents.core.steps import Outcome, Step
from agents.postgres.facts import PartialFacts
from agents.postgres.instance import Death
from agents.postgres.probe_commit import ProbeOutcome
from common.lsn import Lsn
from common.timebase import Instant


class Instance(Protocol):
    """One PostgreSQL on this host, running or not. One `perform` at a time (`agents/hands.py` sees to it)."""

    async def perform(self, step: Step) -> Outcome:
        """Raise StepFailed. Idempotent, and may be cancelled at any time."""
        ...

    async def wait_death(self) -> Death: ...

    async def measure(self) -> PartialFacts: ...

    async def probe_commit(
        self, expected_rule: str, within_ms: int, *, opening: bool = False
    ) -> ProbeOutcome: ...

    @property
    def probe_is_outstanding(self) -> bool:
        """The next `probe_commit` only asks after one that began before."""
        ...

    async def keep_probe_warm(self) -> None: ...

    @property
    def postmaster_alive(self) -> bool: ...

    @property
    def primary_since(self) -> Instant | None: ...

    @property
    def end_of_recovery_lsn(self) -> Lsn | None: ...

    @property
    def activity(self) -> str: ...
