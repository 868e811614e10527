"""Ending whatever talks to an upstream (protocol.md, R1 (3)).

By signal, from the kernel's list of the postmaster's children: the views of PostgreSQL don't show a receiver
that is connecting, a reload alone never ends one while replay is paused, and pg_terminate_backend refuses.
The service file was withdrawn before, so that one started later finds no address.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

from agents.core.steps import StepFailed
from agents.postgres.processes import Child, children, is_stopped, ticks_at
from agents.postgres.server import Server
from common.timebase import elapsed_ms

_LOOK_EVERY_S = 0.0005
_CLEAN_LOOKS = 2
"""In a row: the kernel's list may leave one child out while another one ends (proc(5), `children`)."""
_REPEAT_MS = 20
_ASK_UNTITLED_AFTER_MS = 100
_KILL_AFTER_MS = 1_000
_GIVE_UP_MS = 3_000


def may_receive(child: Child, withdrawn_ticks: int) -> bool:
    """A child without a title was just forked, and may be a receiver that read the old service file; but not one that
    was forked after the address was withdrawn. (Where clients connect all the time there always is one.)

    A backend takes its title only when the client's first packet is there, and waits for that for
    authentication_timeout: so long where the client's host was cut off after it had connected.
    """
    if child.title:
        return child.is_receiver
    return child.started_ticks <= withdrawn_ticks


async def end_receivers(server: Server) -> None:
    postmaster = await server.find()
    if postmaster is None:
        return
    begun_at = server.clock.now()
    withdrawn_ticks = ticks_at(begun_at)
    told_ms: dict[int, int] = {}
    clean_looks = 0
    while postmaster.alive:
        found = children(postmaster.pid, server.config.title)
        left = [child for child in found if may_receive(child, withdrawn_ticks)]
        clean_looks = 0 if left else clean_looks + 1
        if clean_looks == _CLEAN_LOOKS:
            return
        waited_ms = elapsed_ms(since=begun_at, now=server.clock.now())
        if waited_ms > _GIVE_UP_MS:
            raise StepFailed(f"a receiver does not end: {', '.join(f'{c.pid} {c.title}' for c in left)}")
        for child in left:
            if waited_ms < told_ms.get(child.pid, -_REPEAT_MS) + _REPEAT_MS:
                continue
            if child.is_receiver or waited_ms > _ASK_UNTITLED_AFTER_MS:
                told_ms[child.pid] = waited_ms
                # A killed one takes PostgreSQL down with it, which seals as well.
                force = child.is_receiver and (waited_ms > _KILL_AFTER_MS or is_stopped(child.pid))
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL if force else signal.SIGTERM)
        await asyncio.sleep(_LOOK_EVERY_S)
