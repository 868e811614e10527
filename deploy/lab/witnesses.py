"""Several writers and readers on one cluster at once: through DNS, and side by side through a multi-host string.

What lives here: which witnesses there are, starting and ending them, and reading back what is there. They are
started anew for each fault (`begin`), on tables that stay, and what they saw is judged by `deploy.bench.hearing`.
Nothing here asks Primacy, but for who the primary is whose tables are read back at the end.
"""

from __future__ import annotations

import signal
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.bench import second_writer
from deploy.bench.hearing import Hearing, hear
from deploy.bench.reads import STALE_BOUND_US, Read, read_reads
from deploy.bench.verdict import Journal, read_journal
from deploy.lab.fleet import CLIENT_HOST
from deploy.lab.lab import LabFailed
from deploy.lab.witnessed import CLIENT_PASSWORD, CLIENT_ROLE, DATABASE, Witnessed

FIRST_ROWS_WITHIN_S = 30.0
ENDED_WITHIN_S = 10.0
# A round's numbers never meet those of another round, also those whose fate is unknown.
NUMBERS_A_ROUND = 10_000_000


@dataclass(frozen=True, slots=True)
class Writer:
    """`name` is also the name of its table."""

    name: str
    mode: str
    period_ms: int


REFERENCE, MULTIHOST = "dns_reference", "multihost"
WRITERS = (
    Writer(REFERENCE, "reference", 10),
    Writer("dns_slow", "reference", 100),
    Writer(MULTIHOST, "multihost", 20),
    Writer("multihost_slow", "multihost", 100),
)
THROUGH_DNS = tuple(writer.name for writer in WRITERS if writer.mode == "reference")
READER_MODES = ("reference", "multihost")


class Witnesses:
    def __init__(self, cluster: Witnessed) -> None:
        self._cluster = cluster
        self._lab = cluster.lab
        self._folder: Path = cluster.folder
        self._round = 0
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._beside: dict[str, subprocess.Popen[bytes]] = {}
        self._began_us = 0

    def make_tables(self) -> None:
        """Once, on a cluster that was just born."""
        tables = [writer.name for writer in WRITERS]
        made = [f"CREATE ROLE {CLIENT_ROLE} LOGIN PASSWORD '{CLIENT_PASSWORD}'", second_writer.CREATE_TABLE]
        made += [f"CREATE TABLE {table} (n bigint PRIMARY KEY)" for table in tables]
        made.append(f"GRANT ALL ON {', '.join([*tables, second_writer.TABLE])} TO {CLIENT_ROLE}")
        self._cluster.sql(self._cluster.primary, "; ".join(made))
        (self._folder / "password").write_text(CLIENT_PASSWORD)

    def begin(self) -> None:
        """A new round: writers and readers with journals of their own; returns once all of them were answered."""
        self._round += 1
        for writer in WRITERS:
            self._start(
                writer.name, "deploy.bench.client", *self._connecting(writer.mode),
                "--table", writer.name, "--period-ms", str(writer.period_ms),
                "--first-n", str(self._round * NUMBERS_A_ROUND + 1),
            )  # fmt: skip
        for mode in READER_MODES:
            self._start(
                f"reader_{mode}", "deploy.bench.reader", *self._connecting(mode), "--tables", _tables()
            )
        for member in self._cluster.members:
            self.sit_beside(member)
        ends_at = time.monotonic() + FIRST_ROWS_WITHIN_S
        waiting = {writer.name for writer in WRITERS} | {f"reader_{mode}" for mode in READER_MODES}
        while waiting := {name for name in waiting if not self._was_answered(name)}:
            if time.monotonic() > ends_at:
                raise LabFailed(f"not answered within {FIRST_ROWS_WITHIN_S} s: {', '.join(sorted(waiting))}")
            time.sleep(0.05)

    def sit_beside(self, member: str) -> None:
        """A poller and a reader on the member's host, over its own socket; also after its host was restarted."""
        self._cluster.start_poller(member)
        old = self._beside.get(member)
        if old is not None and old.poll() is None:
            return
        host = self._lab.plan.host(self._cluster.host_of(member))
        count = len(list(self._folder.glob(f"beside-{member}-*")))
        command = (
            self._lab.programs.python, "-m", "deploy.bench.reader", "--mode", "local",
            "--hosts", str(self._lab.files.socket_directory(host)), "--port", str(self._lab.plan.ports.postgres),
            "--user", CLIENT_ROLE, "--database", DATABASE, "--tables", _tables(),
            "--journal", str(self._folder / f"beside-{member}-{count}.jsonl"),
        )  # fmt: skip
        self._beside[member] = self._lab.launch_on(host.name, command, user=self._lab.programs.postgres_user)

    def end(self) -> None:
        """The round's writers and readers; those beside the members go on."""
        _end(self._processes)

    def close(self) -> None:
        _end(self._processes | self._beside)

    def journal(self, writer: str = REFERENCE) -> Journal:
        with self._journal_file(writer).open() as lines:
            return read_journal(lines)

    def await_writes(self, at_us: int, within_s: float, writer: str = REFERENCE) -> None:
        """Until an insert that was sent after this moment was acknowledged."""
        ends_at = time.monotonic() + within_s
        while not any(entry.sent_us > at_us for entry in self.journal(writer).acknowledged[-50:]):
            if time.monotonic() > ends_at:
                raise LabFailed(f"{writer} was not acknowledged within {within_s:.0f} s")
            time.sleep(0.1)

    def hearing(self, fault_at_us: int, frozen_us: int = 0) -> Hearing:
        """After `end`, from a whole cluster: this round against what its primary has. A host that stood still for
        `frozen_us` may serve reads that are older by so much: it could not fence itself meanwhile."""
        first = self._round * NUMBERS_A_ROUND
        return hear(
            {writer.name: self.journal(writer.name) for writer in WRITERS},
            {writer.name: self._present(writer.name, first) for writer in WRITERS},
            self._reads(),
            self._cluster.second_writes(),
            fault_at_us,
            stale_bound_us=STALE_BOUND_US + frozen_us,
        )

    def lost_in_all_rounds(self) -> list[tuple[str, int]]:
        """Rows of any round that were there once and are not any more."""
        lost: list[tuple[str, int]] = []
        for writer in WRITERS:
            present = self._present(writer.name, 0)
            for file in sorted(self._folder.glob(f"round-*-{writer.name}.jsonl")):
                with file.open() as lines:
                    lost += [(writer.name, n) for n in sorted(read_journal(lines).numbers - present)]
        return lost

    def _present(self, table: str, above: int) -> frozenset[int]:
        answer = self._cluster.sql(self._cluster.primary, f"SELECT n FROM {table} WHERE n > {above}")
        return frozenset(int(line) for line in answer.split())

    def _reads(self) -> list[Read]:
        """Of this round, by those beside the members too: they go on over all rounds. Older rows count as none."""
        first = self._round * NUMBERS_A_ROUND
        found: list[Read] = []
        for mode in READER_MODES:
            with self._journal_file(f"reader_{mode}").open() as lines:
                found += read_reads(lines)
        for member in self._cluster.members:
            address = self._lab.plan.member_host(self._cluster.cluster, member).address
            for file in self._folder.glob(f"beside-{member}-*.jsonl"):
                with file.open() as lines:
                    beside = [
                        read for read in read_reads(lines) if any(n > first for n in read.seen.values())
                    ]
                found += [replace(read, server=address) for read in beside]
        return [replace(r, seen={table: n if n > first else 0 for table, n in r.seen.items()}) for r in found]

    def _was_answered(self, name: str) -> bool:
        file = self._journal_file(name)
        if not file.exists():
            return False
        text = file.read_text()
        return '"ack"' in text or '"is": "read"' in text

    def _connecting(self, mode: str) -> tuple[str, ...]:
        plan, cluster = self._lab.plan, self._cluster.cluster
        if mode == "multihost":
            hosts = (plan.member_host(cluster, member).address for member in self._cluster.members)
            return ("--mode", mode, "--hosts", ",".join(hosts))
        server, port = plan.name_servers[0]
        name = f"primary.{cluster}.{plan.fleet.zone}"
        return ("--mode", mode, "--name", name, "--name-server", f"{server}:{port}")

    def _start(self, name: str, module: str, *words: str) -> None:
        command = (
            self._lab.programs.python, "-m", module, *words,
            "--port", str(self._lab.plan.ports.postgres), "--user", CLIENT_ROLE, "--database", DATABASE,
            "--password-file", str(self._folder / "password"), "--journal", str(self._journal_file(name)),
        )  # fmt: skip
        self._processes[name] = self._lab.launch_on(CLIENT_HOST, command)

    def _journal_file(self, name: str) -> Path:
        return self._folder / f"round-{self._round:03d}-{name}.jsonl"


def _tables() -> str:
    return ",".join(writer.name for writer in WRITERS)


def _end(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    for process in processes.values():
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes.values():
        try:
            process.wait(ENDED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    processes.clear()
