"""The one way to the instance's `perform`: one step at a time, and the door known at every moment.

The driver, the prober (which opens) and the fence (which stops) all act on PostgreSQL. A generation counts
each shutting of the door, so that evidence from before a restart never opens what was started after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from agents.core.steps import (
    Open,
    Outcome,
    StartPrimary,
    StartStandby,
    Step,
    StepFailed,
    StopPostgres,
    WriteSettings,
)
from agents.ports import Instance

_CUT_OFF = "cut off by a newer order"


class Hands:
    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._busy = asyncio.Lock()
        self._cuttable: asyncio.Task[Outcome] | None = None
        self._cuts_count = 0
        self._cut: set[asyncio.Task[Outcome]] = set()
        self.generation = 0
        self.on_shut: Callable[[], None] = lambda: None
        """Called when clients are surely out: all of PostgreSQL is gone, or about to start closed. The
        postmaster's death alone is not enough: its orphans still answer."""

    async def perform(self, step: Step, *, may_be_cut_off: bool = False) -> Outcome:
        """Raise StepFailed, also when `cut_off` ended it."""
        cuts_count = self._cuts_count
        async with self._busy:
            if may_be_cut_off and cuts_count != self._cuts_count:
                raise StepFailed(_CUT_OFF)  # while it still waited for its turn
            return await self._perform(step, may_be_cut_off)

    async def open(self, generation: int, before: Callable[[], bool]) -> bool:
        """Let clients in, unless the door was shut since `generation` or `before` says no just before."""
        async with self._busy:
            if generation != self.generation or not before():
                return False
            await self._perform(Open(), False)
            return True

    def cut_off(self) -> None:
        """End what runs or waits for its turn, if it is one of the steps that may be."""
        self._cuts_count += 1
        if self._cuttable is not None:
            self._cut.add(self._cuttable)
            self._cuttable.cancel()

    async def _perform(self, step: Step, may_be_cut_off: bool) -> Outcome:
        shuts = isinstance(step, StopPostgres | StartPrimary | StartStandby) or (
            isinstance(step, WriteSettings) and step.closed is True
        )
        if shuts:
            self.generation += 1
        if isinstance(step, StartPrimary | StartStandby) and not self._instance.postmaster_alive:
            self.on_shut()  # what is started comes up closed, or is no primary
        task = asyncio.ensure_future(self._instance.perform(step))
        self._cuttable = task if may_be_cut_off else None
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            with suppress(asyncio.CancelledError, StepFailed):
                await task
            raise
        finally:
            self._cuttable = None
        if task in self._cut:
            self._cut.discard(task)
            if task.cancelled():
                raise StepFailed(_CUT_OFF)
        outcome = task.result()
        if isinstance(step, StopPostgres):
            self.on_shut()
        return outcome
