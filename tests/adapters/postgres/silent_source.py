"""A source that falls silent in the middle of a copy: its host is cut off, or its process stands still.

The cut is the kernel's, in a network of this thread alone: packets vanish, and no end of a connection is told.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.adapters.postgres.kit import PATIENCE_S, Member
from tests.needs import needs_netns, needs_nft

_CLONE_NEWNET = 0x40000000
_SESSION = "select pid from pg_stat_activity where application_name = %s"
_LOOK_EVERY_S = 0.001
_RULES = """
table inet cut {{
  chain packets {{
    type filter hook input priority 0;
    tcp sport {port} drop
    tcp dport {port} drop
  }}
}}
"""


@contextmanager
def own_network() -> Iterator[None]:
    """This thread, and what it starts, has a loopback of its own."""
    needs_netns()
    needs_nft()
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
            yield
        finally:
            if libc.setns(before, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(before)


async def cut_off_in_the_middle(source: Member, application_name: str) -> None:
    """Both ends live and wait; the source's stands still only until the packets vanish."""
    pid = await freeze_in_the_middle(source, application_name)
    rules = _RULES.format(port=source.config.port)
    subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True, timeout=10)
    os.kill(pid, signal.SIGCONT)


async def freeze_in_the_middle(source: Member, application_name: str) -> int:
    """The source's process that serves the copy, as soon as it does: its kernel goes on acknowledging packets."""
    with source.connect() as looking:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                row = looking.execute(_SESSION, (application_name,)).fetchone()
                if row is not None:
                    os.kill(row[0], signal.SIGSTOP)
                    return int(row[0])
                await asyncio.sleep(_LOOK_EVERY_S)
