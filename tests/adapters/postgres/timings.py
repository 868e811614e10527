"""How long the steps take here: `python -m tests.adapters.postgres.timings [runs]`. Medians, in milliseconds.

On a real disk, not in memory: PRIMACY_TIMINGS_DIR says where (default: the system's temporary folder).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from agents.core.steps import (
    EndClients,
    EndReceivers,
    Initdb,
    LocalCommit,
    Look,
    MakeSlots,
    MeasureEnd,
    PlaceHistories,
    PromotePostgres,
    Reached,
    SeeRule,
    StartPrimary,
    StartStandby,
    StopPostgres,
    WriteSettings,
)
from common.assignment import Position
from common.rule import FENCE
from tests.adapters.postgres.kit import Home, eventually, own, postgresql_programs, stop

Times = dict[str, list[float]]


async def main(runs: int) -> None:
    programs = postgresql_programs()
    if programs is None:
        sys.exit("there is no PostgreSQL 15 to 18 here; set PRIMACY_PGBIN")
    folder = Path(tempfile.mkdtemp(prefix="pgt-", dir=os.environ.get("PRIMACY_TIMINGS_DIR")))
    folder.chmod(0o755)
    own(folder)
    times: Times = defaultdict(list)
    try:
        template = await _template(folder, programs, times)
        for run in range(runs):
            await _one_failover(folder / str(run), programs, template, times)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, taken in times.items():
        print(f"{name:44} {statistics.median(taken):8.1f}   ({min(taken):.1f} to {max(taken):.1f})")


async def _timed(times: Times, name: str, work: Awaitable[Any]) -> Any:
    begun_at = time.perf_counter()
    try:
        return await work
    finally:
        times[name].append((time.perf_counter() - begun_at) * 1000)


async def _template(folder: Path, programs: Path, times: Times) -> Path:
    async with Home(folder, programs, None).member("t", empty=True) as member:
        await _timed(times, "initdb", member.perform(Initdb()))
        await member.mark()
        await member.serve()
        await member.perform(stop())
        return member.data


async def _one_failover(folder: Path, programs: Path, template: Path, times: Times) -> None:
    folder.mkdir()
    own(folder)
    home = Home(folder, programs, template)
    async with home.member("a") as a, home.member("b") as b, home.member("c") as c:
        await a.perform(WriteSettings(""))
        await _timed(times, "start as primary", a.perform(StartPrimary()))
        await b.perform(WriteSettings(FENCE))
        await _timed(times, "start as standby", b.perform(StartStandby()))
        await b.follow(a)
        await c.follow(a)
        a.ask("create table t as select generate_series(1, 1000) as i")
        await eventually(lambda: b.has_received(a) and c.has_received(a))
        await _timed(times, "look", b.perform(Look()))
        await _timed(times, "measure", b.instance.measure())
        a.kill()
        begun_at = time.perf_counter()
        await _timed(times, "seal: withdraw", b.perform(WriteSettings(FENCE)))
        await _timed(times, "seal: end receivers", b.perform(EndReceivers()))
        end = await _timed(times, "seal: measure the end", b.perform(MeasureEnd()))
        times["seal in all"].append((time.perf_counter() - begun_at) * 1000)
        await c.perform(WriteSettings(FENCE))
        await c.perform(EndReceivers())
        begun_at = time.perf_counter()
        await _timed(times, "promote: position reached", b.perform(Reached(Position(1, end.end_lsn))))
        await _timed(times, "promote: end clients", b.perform(EndClients()))
        await _timed(times, "promote: the promotion", b.perform(PromotePostgres(5_000)))
        times["promote in all"].append((time.perf_counter() - begun_at) * 1000)
        begun_at = time.perf_counter()
        slot = c.stream(b, 2).slot
        await _timed(times, "R_new: slots", b.perform(MakeSlots((slot,), 2)))
        rule = 'ANY 1 ("c.1@2")'
        await _timed(times, "R_new: settings", b.perform(WriteSettings(rule)))
        await _timed(times, "R_new: seen by a new connection", b.perform(SeeRule()))
        await _timed(times, "R_new: local commit", b.perform(LocalCommit()))
        times["R_new in all"].append((time.perf_counter() - begun_at) * 1000)
        begun_at = time.perf_counter()
        history = (await b.look()).history
        await _timed(times, "attach: history files", c.perform(PlaceHistories(2, history)))
        await _timed(times, "attach: settings", c.perform(WriteSettings(FENCE, c.stream(b, 2))))
        with b.connect() as watching:
            sql = b"select 1 from pg_stat_replication where state = 'streaming'"
            while watching.execute(sql).fetchone() is None:
                await asyncio.sleep(0.0005)
        times["attach until streaming"].append((time.perf_counter() - begun_at) * 1000)
        await _timed(times, "probe commit, first", b.instance.probe_commit(rule, 2_000))
        await _timed(times, "probe commit, warm", b.instance.probe_commit(rule, 2_000))
        await _timed(times, "clean stop", b.perform(stop()))
        await _timed(times, "immediate stop", c.perform(StopPostgres()))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
