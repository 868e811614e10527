"""A PostgreSQL that only notes what is asked of it; it fulfils the port `agents.ports.Instance`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agents.core.steps import Look, Outcome, SeeCrash, Sight, Step, StepFailed, StopOutcome, StopPostgres
from agents.postgres.facts import PartialFacts
from agents.postgres.instance import Death
from agents.postgres.probe_commit import ProbeOutcome
from common.facts import PostgresState, WriteState
from common.lsn import Lsn
from common.timebase import Instant


class FakeClock:
    def __init__(self) -> None:
        self.at = Instant(1_000_000_000)

    def now(self) -> Instant:
        return self.at

    def wall_ms(self) -> int:
        return 0

    def pass_ms(self, duration_ms: int) -> None:
        self.at = Instant(self.at + duration_ms * 1000)


class FakeInstance:
    def __init__(self) -> None:
        self.performed: list[Step] = []
        self.sight = Sight(PostgresState.ABSENT)
        self.fails: str = ""
        self.hangs_at: type[Step] | None = None
        self.hung = asyncio.Event()
        self.on_step: Callable[[Step], None] = lambda step: None
        self.primary_since: Instant | None = None
        self.warmed_count = 0
        self.end_of_recovery_lsn: Lsn | None = None
        self.postmaster_alive = False
        self.activity = ""
        self.probe = ProbeOutcome(Instant(0), WriteState.NONE)
        self.probed = asyncio.Event()
        self.probe_is_outstanding = False

    async def perform(self, step: Step) -> Outcome:
        self.performed.append(step)
        self.on_step(step)
        if self.hangs_at is not None and isinstance(step, self.hangs_at):
            self.hung.set()
            await asyncio.Event().wait()
        if isinstance(step, Look):
            return self.sight
        if isinstance(step, SeeCrash):
            return False
        if self.fails:
            raise StepFailed(self.fails)
        if isinstance(step, StopPostgres):
            return StopOutcome(clean=False)
        return None

    async def wait_death(self) -> Death:
        await asyncio.Event().wait()
        raise AssertionError

    async def measure(self) -> PartialFacts:
        return PartialFacts()

    async def probe_commit(
        self, expected_rule: str, within_ms: int, *, opening: bool = False
    ) -> ProbeOutcome:
        self.probed.set()
        return self.probe

    async def keep_probe_warm(self) -> None:
        self.warmed_count += 1


def acknowledged(at: Instant, end_lsn: int) -> ProbeOutcome:
    return ProbeOutcome(at, WriteState.ACKNOWLEDGED, Lsn(end_lsn))
