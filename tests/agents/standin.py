"""Stands in for an agent in the guard's tests: connects as one, reports once, then lives as it is told.

    python -m tests.agents.standin FOLDER

It writes its pid into FOLDER/agents (one line each start) and reads its part from FOLDER/part:
`live` (reports every 50 ms without moving the deadline), `renew` (moves it each time), `link` (does so as the
agent's own end of the channel does), `silent` (reports once), `die` (reports once and ends).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agents.guard.channel import FD_VARIABLE, Report, decode_word, send
from agents.guard_link import GuardLink, become_guard
from common.clock import BootClock

GUARD = """
import sys
from agents.guard.channel import decode_report
from agents.guard.guard import Guard
from agents.guard.main import become_subreaper
become_subreaper()
adopted = decode_report(sys.argv[3].encode()) if "--adopt" in sys.argv else None
sys.exit(Guard([sys.executable, "-m", "tests.agents.standin", sys.argv[1]], adopted).run())
"""


def eventually(condition: Callable[[], object], within_s: float = 20.0) -> None:
    ends_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends_at, "it did not come about in time"
        time.sleep(0.01)


def main() -> None:
    folder = Path(sys.argv[1])
    end = socket.socket(fileno=int(os.environ[FD_VARIABLE]))
    word = decode_word(end.recv(8192))
    part = json.loads((folder / "part").read_text())
    if "deadline_in_ms" in part and word.deadline_us is None:
        deadline_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000 + part["deadline_in_ms"] * 1000
    else:
        deadline_us = word.deadline_us
    report = Report(
        data_directory=str(folder / "data"),
        deadline_us=deadline_us,
        program=part.get("program", "sleep"),
        rule=part.get("rule"),
        lease_us=part.get("lease_ms", 1_000) * 1_000,
        margin_us=100_000,
        psql=tuple(part.get("psql", ())),
    )
    send(end, report)
    with (folder / "agents").open("a") as file:
        file.write(f"{os.getpid()} {word.deadline_us}\n")
    if part["do"] == "die":
        sys.exit(1)
    if part["do"] == "link":
        asyncio.run(_link(folder, end, report))
    while True:
        time.sleep(0.05)
        if part["do"] == "renew":
            send(end, _renewed(report))
        if part["do"] == "live":
            try:
                send(end, report)
            except OSError:
                become_guard([sys.executable, "-c", GUARD, str(folder)], report)


def _renewed(report: Report) -> Report:
    return replace(report, deadline_us=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000 + report.lease_us)


async def _link(folder: Path, end: socket.socket, report: Report) -> None:
    await GuardLink(end, lambda: _renewed(report), BootClock()).run()
    become_guard([sys.executable, "-c", GUARD, str(folder)], _renewed(report))


if __name__ == "__main__":
    main()
