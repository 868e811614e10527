"""Looks for a second writer: one poller beside each member, over its local socket, into a table of its own.

    python -m deploy.bench.second_writer --member a --socket-directory DIR --port 5432 ... --journal FILE

A poller tries ten times a second to commit a row (member, n) with synchronous_commit=on, whether its member
is primary or not; a standby or a closed primary refuses, and that is well. It keeps its connection as long
as that works, as a client would that nobody told of a failover. A WARNING is no acknowledgement, and at its
deadline it closes the socket. `judge_pollers` compares at the end: a row that some member acknowledged and
the primary does not have was written by a second writer, or was lost; both break the promise.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TextIO

from deploy.bench.wire import ConnectFailed, Session, conninfo_quoted, now_us

EVERY_US = 100_000
CONNECT_WITHIN_US = 200_000
WRITE_WITHIN_US = 300_000
TABLE = "second_writer"
# The timeline and the position tell on which side of a switch point the row was written.
INSERT = (
    f"INSERT INTO {TABLE} (member, n) VALUES ($1, $2)"
    " RETURNING pg_walfile_name(pg_current_wal_insert_lsn()) || ' ' || pg_current_wal_insert_lsn()"
)
CREATE_TABLE = f"CREATE TABLE IF NOT EXISTS {TABLE} (member text, n bigint, PRIMARY KEY (member, n))"


@dataclass(frozen=True, slots=True)
class Wrote:
    """A commit that `member` acknowledged."""

    member: str
    n: int
    at_us: int
    where: str


class Poller:
    def __init__(self, member: str, conninfo: str, journal: TextIO) -> None:
        self._member = member
        self._conninfo = conninfo
        self._journal = journal
        self._session: Session | None = None
        self._n = 0
        self._stopping = False

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        self._stopping = True

    def run(self) -> None:
        due_us = now_us()
        while not self._stopping:
            self.poll()
            due_us = max(due_us + EVERY_US, now_us())
            time.sleep(max(due_us - now_us(), 0) / 1e6)
        self._give_up()

    def poll(self) -> None:
        if self._session is None:
            try:
                self._session = Session.open(self._conninfo, deadline_us=now_us() + CONNECT_WITHIN_US)
            except ConnectFailed:
                return
        at_us = now_us()
        self._n = at_us  # never twice, also by a poller that was started anew
        answer = self._session.run(INSERT, [self._member, str(self._n)], deadline_us=at_us + WRITE_WITHIN_US)
        if answer.ok:
            line = {
                "member": self._member,
                "n": self._n,
                "at": at_us,
                "done": now_us(),
                "where": answer.value,
            }
            self._journal.write(json.dumps(line) + "\n")
            self._journal.flush()
        elif not (answer.certain and answer.outcome == "error"):
            self._give_up()

    def _give_up(self) -> None:
        if self._session is not None:
            self._session.give_up()
            self._session = None


def read_pollers(lines: Iterable[str]) -> list[Wrote]:
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return [Wrote(entry["member"], entry["n"], entry["done"], entry["where"]) for entry in entries]


def judge_pollers(wrote: Iterable[Wrote], present: Mapping[str, frozenset[int]]) -> list[Wrote]:
    """What was acknowledged to a poller and is not there. `present`: by member, every n on the primary."""
    return [entry for entry in wrote if entry.n not in present.get(entry.member, frozenset())]


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.second_writer")
    parser.add_argument("--member", required=True)
    parser.add_argument("--socket-directory", required=True)
    parser.add_argument("--port", type=int, default=5432)
    parser.add_argument("--user", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    chosen = parser.parse_args(words)
    conninfo = conninfo_quoted(
        host=chosen.socket_directory,
        port=chosen.port,
        user=chosen.user,
        dbname=chosen.database,
        application_name=f"second_writer_{chosen.member}",
        options="-c synchronous_commit=on",
    )
    with chosen.journal.open("a") as journal:
        poller = Poller(chosen.member, conninfo, journal)
        signal.signal(signal.SIGTERM, poller.stop)
        signal.signal(signal.SIGINT, poller.stop)
        poller.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
