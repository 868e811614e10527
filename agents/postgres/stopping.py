"""Stopping PostgreSQL: until no process of it and no shared memory is left (protocol.md, R1, R8).

A postmaster that is gone may leave backends behind, one of which can still acknowledge a commit; and a
process that was frozen acts on nothing but SIGKILL. Every wait here has a forced alternative.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from functools import partial

from agents.core.steps import StepFailed, StopOutcome
from agents.postgres.look import is_anything_left
from agents.postgres.pidfds import ended_within
from agents.postgres.postmaster import PidFile, Postmaster, read_pid_file
from agents.postgres.processes import children, is_stopped, processes_of, state_of, ticks_at
from agents.postgres.server import Server
from common.timebase import after_ms, before_ms, elapsed_ms

_LOOK_EVERY_MS = 5
_ORPHANS_GRACE_MS = 100
_GIVE_UP_MS = 10_000
_PID_FILE_WITHIN_MS = 300
_SILENT_MS = 100
"""A client that says nothing for so long after it has connected does not keep a stop waiting."""


async def stop(server: Server, *, clean: bool, clean_within_ms: int) -> StopOutcome:
    """The disk may be dead: what kills asks only the kernel."""
    config = server.config
    pid_file: PidFile | None = None
    with suppress(StepFailed):
        # It is gone after an orderly stop: what it says of the shared memory is read before.
        pid_file = await server.reading.run(
            "reading postmaster.pid", _PID_FILE_WITHIN_MS, partial(read_pid_file, config.data_directory)
        )
    postmaster = server.postmaster if server.alive else await server.find()
    await server.close_sessions()
    if postmaster is not None:
        postmaster.told_to_stop = True
        await _stop_postmaster(server, postmaster, clean_within_ms if clean else 0)
    await _end_what_is_left(server, pid_file)
    server.primacy = None
    try:
        return StopOutcome(clean=(await server.control_data()).clean_shutdown)
    except StepFailed:  # there is none, or it can't be read
        return StopOutcome(clean=False)


async def _end_what_is_left(server: Server, pid_file: PidFile | None) -> None:
    """Looking costs the kernel a walk through all processes, so it is done again once those that were seen ended."""
    begun_at = server.clock.now()
    told = False
    while await server.ask_kernel(partial(is_anything_left, server.config, pid_file)):
        waited_ms = elapsed_ms(since=begun_at, now=server.clock.now())
        pids = await _pids(server)
        if waited_ms > _GIVE_UP_MS:
            states = ", ".join(f"{pid} ({state_of(pid)})" for pid in pids) or "shared memory is attached"
            raise StepFailed(f"PostgreSQL can't be stopped: {states}")
        if waited_ms >= _ORPHANS_GRACE_MS or any(map(is_stopped, pids)):
            _send(pids, signal.SIGKILL)
        elif not told:
            _send(pids, signal.SIGQUIT)
            told = True
        if pids:
            patience_ms = _ORPHANS_GRACE_MS - waited_ms
            await ended_within(pids, patience_ms if patience_ms > 0 else _LOOK_EVERY_MS)
        else:
            await asyncio.sleep(_LOOK_EVERY_MS / 1000)


async def _pids(server: Server) -> list[int]:
    return await server.ask_kernel(partial(processes_of, server.config.data_directory))


async def _stop_postmaster(server: Server, postmaster: Postmaster, clean_within_ms: int) -> None:
    frozen = is_stopped(postmaster.pid)
    if clean_within_ms > 0 and not frozen:
        postmaster.send(signal.SIGINT)
        if await _gone_cleanly(server, postmaster, clean_within_ms):
            return
    if not frozen:
        postmaster.send(signal.SIGQUIT)
        if await postmaster.gone_within(server.config.die_within_ms):
            return
    # Its children too, at once: an orphan must not get one more commit through.
    pids = await _pids(server)
    postmaster.send(signal.SIGKILL)
    _send(pids, signal.SIGKILL)
    if not await postmaster.gone_within(_GIVE_UP_MS):
        raise StepFailed(f"the postmaster {postmaster.pid} can't be killed ({state_of(postmaster.pid)})")


async def _gone_cleanly(server: Server, postmaster: Postmaster, within_ms: int) -> bool:
    """A server that stops (or starts) turns a client away only once that has said what it wants. One that connects
    and says nothing is waited for by 15 to 17, as the last of all, for authentication_timeout: a minute (18 ends it).
    A client whose connecting was given up is such a one, if its kernel tries on until this host is back.
    """
    until = after_ms(server.clock.now(), within_ms)
    while (left_ms := elapsed_ms(since=server.clock.now(), now=until)) > 0:
        if await postmaster.gone_within(min(left_ms, _SILENT_MS)):
            return True
        with suppress(StepFailed):
            _send(await server.ask_kernel(partial(_silent_clients, server, postmaster)), signal.SIGTERM)
    return not postmaster.alive


def _silent_clients(server: Server, postmaster: Postmaster) -> list[int]:
    """A child takes its title when its client has said what it wants; PostgreSQL's own processes take theirs at once,
    and none that is new by now does harm when SIGTERM tells it once more to end."""
    asked_before = ticks_at(before_ms(server.clock.now(), _SILENT_MS))
    found = children(postmaster.pid, server.config.title)
    return [child.pid for child in found if not child.title and 0 < child.started_ticks < asked_before]


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
