"""The reference client of measuring.md, a process of its own: `python -m deploy.bench.client --help`.

It knows a name and a name server, nothing else. One writer, 100 inserts a second of an increasing n. It
resolves at each connect; connecting, resolving included, has 200 ms, a write 300 ms; after a failure it
closes the socket, waits 20 ms, and begins anew. An n whose fate is unknown is written down as in doubt and
never used again: every attempt takes a new n.

Each attempt becomes one JSON line of the journal, with CLOCK_MONOTONIC in microseconds (`verdict` reads it):

    {"is": "connect", "at": .., "took": .., "outcome": "ok", "address": "10.77.10.1"}
    {"is": "insert", "n": 7, "at": .., "done": .., "outcome": "ack"}   ack, warning, error, timeout, broken
    {"is": "begin" | "end", "at": ..}
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TextIO

from deploy.bench.wire import Answer, ConnectFailed, Session, conninfo_quoted, now_us, resolve

PERIOD_US = 10_000
CONNECT_WITHIN_US = 200_000
WRITE_WITHIN_US = 300_000
PAUSE_S = 0.020
# A slow commit is caught up with by a few quick inserts; what an outage swallowed is not made up for.
CATCH_UP_PERIODS = 10
MODES = ("reference", "libpq", "multihost", "caching", "local")


@dataclass(frozen=True, slots=True)
class Target:
    """`mode` reference is the client that figures are quoted of; the others are reported apart:
    libpq: its own connect_timeout=2; multihost: no name, all hosts in one connection string;
    caching: asks the name server again only when the TTL is over.
    local: over the socket in the folder that `hosts` names; for a witness beside a member."""

    name: str
    server: str
    server_port: int
    port: int
    user: str
    password: str
    database: str
    table: str
    mode: str = "reference"
    hosts: str = ""

    def conninfo(self, address: str) -> str:
        common = conninfo_quoted(
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.database,
            application_name=f"{self.mode}_client",
            sslmode="disable",
            gssencmode="disable",
        )
        if self.mode == "multihost":
            multihost = conninfo_quoted(host=self.hosts, target_session_attrs="read-write", connect_timeout=2)
            return f"{common} {multihost}"
        if self.mode == "local":
            return f"{common} {conninfo_quoted(host=self.hosts)}"
        patience = {"connect_timeout": 2} if self.mode == "libpq" else {}
        return f"{common} {conninfo_quoted(hostaddr=address, **patience)}"


class Connector:
    def __init__(self, target: Target) -> None:
        self._target = target
        self._cached: tuple[str, int] | None = None

    def connect(self) -> tuple[Session, str]:
        deadline_us = now_us() + CONNECT_WITHIN_US
        target = self._target
        if target.mode == "multihost":
            return Session.open_blocking(target.conninfo("")), target.hosts
        if target.mode == "local":
            return Session.open(target.conninfo(""), deadline_us=deadline_us), target.hosts
        address = self._address(deadline_us)
        if target.mode == "libpq":
            return Session.open_blocking(target.conninfo(address)), address
        session = Session.open(target.conninfo(address), deadline_us=deadline_us, address=address)
        return session, address

    def _address(self, deadline_us: int) -> str:
        if self._target.mode == "caching" and self._cached is not None and now_us() < self._cached[1]:
            return self._cached[0]
        target = self._target
        address, ttl_s = resolve(target.name, target.server, target.server_port, deadline_us=deadline_us)
        self._cached = (address, now_us() + ttl_s * 1_000_000)
        return address


class Client:
    def __init__(
        self, target: Target, journal: TextIO, *, first_n: int = 1, period_us: int = PERIOD_US
    ) -> None:
        self._target = target
        self._period_us = period_us
        self._connector = Connector(target)
        self._journal = journal
        self._session: Session | None = None
        self._n = first_n - 1
        self._stopping = False
        self._insert = f"INSERT INTO {target.table} (n) VALUES ($1)"
        self.acknowledged = 0
        self.connects = 0

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        self._stopping = True

    def run(self) -> None:
        self._write({"is": "begin", "at": now_us(), "period": self._period_us, "mode": self._target.mode})
        due_us = now_us()
        while not self._stopping:
            due_us = max(due_us, now_us() - CATCH_UP_PERIODS * self._period_us)
            if self._session is None and not self._connect():
                time.sleep(PAUSE_S)
                continue
            _sleep_until(due_us)
            if self._insert_next():
                due_us += self._period_us
            else:
                time.sleep(PAUSE_S)
        if self._session is not None:
            self._session.give_up()
        self._write(
            {"is": "end", "at": now_us(), "acknowledged": self.acknowledged, "connects": self.connects}
        )

    def _connect(self) -> bool:
        at_us = now_us()
        try:
            self._session, address = self._connector.connect()
        except ConnectFailed as failure:
            self._connect_line(at_us, failure.outcome, failure.address, failure.detail)
            return False
        self.connects += 1
        self._connect_line(at_us, "ok", address, "")
        return True

    def _insert_next(self) -> bool:
        assert self._session is not None
        self._n += 1
        at_us = now_us()
        answer = self._session.run(self._insert, [str(self._n)], deadline_us=at_us + WRITE_WITHIN_US)
        if not answer.ok:  # close first: how long writing the line takes must not matter to the server
            self._session.give_up()
            self._session = None
        self._insert_line(at_us, answer)
        return answer.ok

    def _insert_line(self, at_us: int, answer: Answer) -> None:
        line: dict[str, object] = {
            "is": "insert",
            "n": self._n,
            "at": at_us,
            "done": now_us(),
            "outcome": answer.outcome,
        }
        if answer.ok:
            self.acknowledged += 1
        else:
            line |= {"in_doubt": not answer.certain, "detail": answer.detail}
        self._write(line)

    def _connect_line(self, at_us: int, outcome: str, address: str, detail: str) -> None:
        line: dict[str, object] = {
            "is": "connect",
            "at": at_us,
            "took": now_us() - at_us,
            "outcome": outcome,
            "address": address,
        }
        self._write(line | ({"detail": detail} if detail else {}))

    def _write(self, line: dict[str, object]) -> None:
        self._journal.write(json.dumps(line) + "\n")
        self._journal.flush()


def _sleep_until(due_us: int) -> None:
    left_us = due_us - now_us()
    if left_us > 0:
        time.sleep(left_us / 1e6)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every witness is told of whom it connects to."""
    parser.add_argument("--name", default="", help="the name to resolve, such as primary.shop.db.example")
    parser.add_argument("--name-server", default="", help="ADDRESS:PORT")
    parser.add_argument("--port", type=int, default=5432, help="of PostgreSQL")
    parser.add_argument("--user", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--password-file", type=Path, help="without one there is no password")
    parser.add_argument("--journal", type=Path, required=True, help="where the JSON lines go")
    parser.add_argument("--mode", choices=MODES, default="reference")
    parser.add_argument("--hosts", default="", help="multihost: addresses, by commas; local: a folder")


def target_of(chosen: argparse.Namespace, table: str) -> Target:
    server, _, server_port = chosen.name_server.rpartition(":")
    return Target(
        name=chosen.name,
        server=server,
        server_port=int(server_port or 53),
        port=chosen.port,
        user=chosen.user,
        password=chosen.password_file.read_text().strip() if chosen.password_file else "",
        database=chosen.database,
        table=table,
        mode=chosen.mode,
        hosts=chosen.hosts,
    )


def arguments_of(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.client", description=__doc__.split("\n")[0])
    add_arguments(parser)
    parser.add_argument("--table", default="reference_client", help="with a column n, primary key")
    parser.add_argument("--first-n", type=int, default=1)
    parser.add_argument("--period-ms", type=int, default=PERIOD_US // 1000, help="between two inserts")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    chosen = arguments_of(words)
    target = target_of(chosen, chosen.table)
    with chosen.journal.open("a") as journal:
        client = Client(target, journal, first_n=chosen.first_n, period_us=chosen.period_ms * 1000)
        signal.signal(signal.SIGTERM, client.stop)
        signal.signal(signal.SIGINT, client.stop)
        client.run()
    print(json.dumps({"acknowledged": client.acknowledged, "connects": client.connects}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
