"""A reader that bears witness: what is the newest row of each table, and who says so. Ten times a second.

    python -m deploy.bench.reader --tables reference_client,... --mode multihost --hosts ... --journal FILE

It connects as the writers do (`client`), and keeps its connection as long as that works, as a reader would that
nobody told of a failover. With `--mode local` it sits beside a member and asks whatever runs there; what a standby
answers is written down as such. Each answer becomes one JSON line, with CLOCK_MONOTONIC in microseconds, taken
before the question was sent and after the answer came, and before its session was opened (`reads` judges them):

    {"is": "read", "connected": .., "at": .., "done": .., "standby": false, "server": "10.77.10.1",
     "seen": {"reference_client": 7}}
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from types import FrameType
from typing import TextIO

from deploy.bench.client import Connector, add_arguments, target_of
from deploy.bench.wire import ConnectFailed, Session, now_us

EVERY_US = 100_000
READ_WITHIN_US = 300_000
PAUSE_S = 0.100


def question(tables: list[str]) -> str:
    """One snapshot for all of it."""
    newest = "".join(f", (SELECT coalesce(max(n), 0) FROM {table})" for table in tables)
    return f"SELECT concat_ws(',', pg_is_in_recovery(), coalesce(host(inet_server_addr()), ''){newest})"


class Reader:
    def __init__(self, connector: Connector, tables: list[str], journal: TextIO) -> None:
        self._connector = connector
        self._tables = tables
        self._question = question(tables)
        self._journal = journal
        self._session: Session | None = None
        self._connected_us = 0
        self._stopping = False

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        self._stopping = True

    def run(self) -> None:
        due_us = now_us()
        while not self._stopping:
            if not self._read():
                time.sleep(PAUSE_S)
                continue
            due_us = max(due_us + EVERY_US, now_us())
            time.sleep(max(due_us - now_us(), 0) / 1e6)
        self._give_up()

    def _read(self) -> bool:
        if self._session is None:
            connecting_us = now_us()
            try:
                self._session, _ = self._connector.connect()
            except ConnectFailed:
                return False
            self._connected_us = connecting_us
        at_us = now_us()
        answer = self._session.run(self._question, [], deadline_us=at_us + READ_WITHIN_US)
        if not answer.ok or answer.value is None:
            self._give_up()
            return False
        standby, server, *newest = answer.value.split(",")
        line = {
            "is": "read",
            "connected": self._connected_us,
            "at": at_us,
            "done": now_us(),
            "standby": standby == "t",
            "server": server,
            "seen": dict(zip(self._tables, map(int, newest), strict=True)),
        }
        self._journal.write(json.dumps(line) + "\n")
        self._journal.flush()
        return True

    def _give_up(self) -> None:
        if self._session is not None:
            self._session.give_up()
            self._session = None


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.reader", description=__doc__.split("\n")[0])
    add_arguments(parser)
    parser.add_argument("--tables", required=True, help="by commas, each with a column n, primary key")
    chosen = parser.parse_args(words)
    tables = chosen.tables.split(",")
    with chosen.journal.open("a") as journal:
        reader = Reader(Connector(target_of(chosen, tables[0])), tables, journal)
        signal.signal(signal.SIGTERM, reader.stop)
        signal.signal(signal.SIGINT, reader.stop)
        reader.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
