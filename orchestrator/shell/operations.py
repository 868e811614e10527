"""What people asked for and how it goes: the steps of each operation, for whoever follows it.

An operation is known by the id that its client drew, so that asking again does not do it twice; a new
leader goes on with the stored steps. The newest are kept in memory, all of them for a while in etcd.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from common.clock import Clock
from common.codec import decode, encode
from common.ids import ClusterName
from orchestrator.core.effects import OutageMeasured, Story
from orchestrator.telemetry.incident import RefusedLine

KEPT = 200
QUIET_MAX_S = 60.0
"""Without any progress for so long, whoever follows is told that it failed; what goes on goes on."""


@dataclass(frozen=True, slots=True)
class OperationStep:
    name: str
    text: str
    since_start_ms: int
    final: str = ""
    refused: tuple[RefusedLine, ...] = ()
    outage: OutageMeasured | None = None


@dataclass(frozen=True, slots=True)
class OperationNote:
    """As it is stored."""

    id: str
    cluster: ClusterName
    began_wall_ms: int
    by: str
    steps: tuple[OperationStep, ...]


@dataclass(slots=True)
class _Operation:
    cluster: ClusterName
    began_wall_ms: int
    by: str = ""
    steps: list[OperationStep] = field(default_factory=list)
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_over(self) -> bool:
        return bool(self.steps) and bool(self.steps[-1].final)


class Operations:
    def __init__(self, clock: Clock, *, quiet_max_s: float = QUIET_MAX_S) -> None:
        self._clock, self._quiet_max_s = clock, quiet_max_s
        self._known: dict[str, _Operation] = {}

    def knows(self, operation: str) -> bool:
        return operation in self._known

    def begin(self, cluster: ClusterName, operation: str, by: str) -> None:
        self._of(cluster, operation).by = by

    def restore(self, body: bytes) -> None:
        """From a note of an earlier leader. Raise ValueError."""
        note = decode(body, OperationNote)
        if note.id not in self._known:
            self._known[note.id] = _Operation(note.cluster, note.began_wall_ms, note.by, list(note.steps))

    def note(self, operation: str) -> tuple[ClusterName, bytes]:
        known = self._known[operation]
        steps = tuple(known.steps)
        return known.cluster, encode(
            OperationNote(operation, known.cluster, known.began_wall_ms, known.by, steps)
        )

    def tell(self, cluster: ClusterName, story: Story) -> None:
        known = self._of(cluster, story.operation)
        if known.is_over:
            return
        known.steps.append(
            OperationStep(
                story.name,
                story.text,
                max(0, self._clock.wall_ms() - known.began_wall_ms),
                story.final,
                tuple(RefusedLine(r.member, r.refusal.value, r.text) for r in story.refused),
                story.outage,
            )
        )
        self._grew(known)

    def forget(self, operation: str) -> None:
        """It was never begun after all."""
        self._known.pop(operation, None)

    def interrupt(self) -> None:
        """We lead no more: whoever follows must look elsewhere."""
        for known in self._known.values():
            self._grew(known)

    async def follow(self, operation: str) -> AsyncIterator[OperationStep | None]:
        """Every step from the first; the last one is final. None: look whether we still lead."""
        known = self._known[operation]
        told = 0
        while True:
            grown = known.grown
            while told < len(known.steps):
                step = known.steps[told]
                told += 1
                yield step
                if step.final:
                    return
            try:
                async with asyncio.timeout(self._quiet_max_s):
                    await grown.wait()
                if told == len(known.steps):
                    yield None
            except TimeoutError:
                text = (
                    f"no progress for {self._quiet_max_s:.0f} s; it is not undone and may still go on:"
                    " see primacy status"
                )
                yield OperationStep(
                    "no progress", text, max(0, self._clock.wall_ms() - known.began_wall_ms), "failed"
                )
                return

    def _grew(self, known: _Operation) -> None:
        known.grown.set()
        known.grown = asyncio.Event()

    def _of(self, cluster: ClusterName, operation: str) -> _Operation:
        known = self._known.get(operation)
        if known is None:
            while len(self._known) >= KEPT:
                del self._known[next(iter(self._known))]
            known = self._known[operation] = _Operation(cluster, self._clock.wall_ms())
        return known
