"""A lab with witnesses: the cluster is born, a client writes by name, a poller sits at each member.

What lives here: starting and stopping the witnesses, and reading back what is there at the end. Nothing
here asks Primacy whether anything was lost; its status is only used to know when the cluster is whole.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.bench import second_writer
from deploy.bench.verdict import Journal, read_journal
from deploy.lab.fault import now_us
from deploy.lab.fleet import CLIENT_HOST
from deploy.lab.lab import Lab, LabFailed

CLIENT_ROLE = "app"
CLIENT_PASSWORD = "app"
DATABASE = "postgres"
BORN_WITHIN_S = 90.0
CONTROL_WITHIN_S = 30.0
SQL_WITHIN_S = 15.0
HEARD_MAX = 2000
NEWEST_BYTES = 16_384
"""Some 150 lines of the journal, more than a second."""

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Losses:
    """What the witnesses hold against the primary at the end."""

    acknowledged_count: int
    lost: tuple[int, ...]
    second_writes: tuple[second_writer.Wrote, ...]


class Watch:
    """`primacy status CLUSTER --watch --json`, kept running; the newest status is at hand."""

    def __init__(self, lab: Lab, cluster: str) -> None:
        self._lab = lab
        self._command = (*lab.programs.cli, "status", cluster, "--watch", "--json")
        self._changed = threading.Condition()
        self._newest: Status | None = None
        self._heard: deque[tuple[int, Status]] = deque(maxlen=HEARD_MAX)
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """It ends while the cluster is not known yet, or no control node answers: then it is begun anew."""
        while not self._closed.is_set():
            self._process = self._lab.launch_on(
                CLIENT_HOST, self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert self._process.stdout is not None
            for line in self._process.stdout:
                self._take(line)
            self._process.wait()
            self._closed.wait(0.3)

    def _take(self, line: bytes) -> None:
        try:
            found = json.loads(line)
        except ValueError:
            return
        if isinstance(found, dict) and "phase" in found:
            with self._changed:
                self._newest = found
                self._heard.append((now_us(), found))
                self._changed.notify_all()

    @property
    def newest(self) -> Status | None:
        return self._newest

    def heard_since(self, at_us: int) -> list[Status]:
        """Every status that was pushed since, as far as they are kept."""
        return [status for _, status in self.heard_with_times_since(at_us)]

    def heard_with_times_since(self, at_us: int) -> list[tuple[int, Status]]:
        """The same with the moment of each (CLOCK_MONOTONIC)."""
        with self._changed:
            return [heard for heard in self._heard if heard[0] >= at_us]

    def until(self, wanted: Callable[[Status], bool], within_s: float, what: str) -> Status:
        """LabFailed, with the last status, when it does not come in time."""
        ends_at = time.monotonic() + within_s
        with self._changed:
            while self._newest is None or not wanted(self._newest):
                left_s = ends_at - time.monotonic()
                if left_s <= 0:
                    raise LabFailed(f"not {what} within {within_s:.0f} s: {short(self._newest)}")
                self._changed.wait(left_s)
            return self._newest

    def close(self) -> None:
        self._closed.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        self._reader.join(5.0)


def short(status: Status | None) -> str:
    if status is None:
        return "no status was heard"
    members = ", ".join(
        f"{m['name']} {m['role']}/{m['state']} {m['error'] or m['activity']}" for m in status["members"]
    )
    reasons = "; ".join(r["text"] or r["reason"] for r in status["reasons"])
    return f"{status['phase']} epoch {status['epoch']} rule {status['rule']}; {members}; {reasons}"


class Witnessed:
    """One cluster of a lab, with its witnesses."""

    def __init__(self, lab: Lab, cluster: str = "shop") -> None:
        self.lab = lab
        self.cluster = cluster
        self.folder: Path = lab.folder / "witnesses"
        self.folder.mkdir(mode=0o777, exist_ok=True)
        self.folder.chmod(0o777)
        self._client: subprocess.Popen[bytes] | None = None
        self._pollers: dict[str, subprocess.Popen[bytes]] = {}
        self.watch = Watch(lab, cluster)

    @property
    def members(self) -> tuple[str, ...]:
        return next(c.members for c in self.lab.plan.fleet.clusters if c.name == self.cluster)

    def host_of(self, member: str) -> str:
        return f"{self.cluster}-{member}"

    # The cluster

    def be_born(self) -> Status:
        self.be_applied()
        return self.whole(BORN_WITHIN_S)

    def be_applied(self) -> None:
        """The control nodes know the cluster; it begins with whatever members run."""
        ends_at = time.monotonic() + CONTROL_WITHIN_S
        while True:
            try:
                self.lab.apply_clusters()
                break
            except LabFailed:
                # The control nodes were only just started; what else is wrong shows at the last try.
                if time.monotonic() > ends_at:
                    raise
                time.sleep(0.3)

    def whole(self, within_s: float = 60.0, *, epoch_at_least: int = 1) -> Status:
        return self.watch.until(
            lambda s: bool(s["whole"]) and s["epoch"] >= epoch_at_least,
            within_s,
            f"whole in epoch {epoch_at_least}",
        )

    def asked_whole(self, within_s: float, *, epoch_at_least: int = 1) -> Status:
        """Asked anew, as the newest status that was pushed may be of a leader that is gone."""
        ends_at = time.monotonic() + within_s
        while True:
            self.whole(ends_at - time.monotonic(), epoch_at_least=epoch_at_least)
            done = self.lab.primacy("status", self.cluster, "--json")
            if done.returncode == 0:
                found: Status = json.loads(done.stdout)
                if found["whole"] and found["epoch"] >= epoch_at_least:
                    return found
            if time.monotonic() > ends_at:
                raise LabFailed(f"not whole when it was asked for: {done.stdout or done.stderr}"[:500])
            time.sleep(0.3)

    @property
    def primary(self) -> str:
        newest = self.watch.newest
        return "" if newest is None else str(newest["primary"])

    @property
    def epoch(self) -> int:
        newest = self.watch.newest
        return 0 if newest is None else int(newest["epoch"])

    def sql(self, member: str, text: str, *, within_s: float = SQL_WITHIN_S) -> str:
        """As the superuser, over the member's own socket."""
        process = self._ask(member, text)
        try:
            out, err = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise LabFailed(f"{member}: no answer within {within_s} s to: {text}") from error
        if process.returncode != 0:
            raise LabFailed(f"{member}: {err.decode().strip()} (asked: {text})")
        return out.decode()

    @contextmanager
    def asking(self, member: str, text: str) -> Iterator[subprocess.Popen[bytes]]:
        """The same, while it is asked; psql ends at the end, its backend as soon as it notices."""
        process = self._ask(member, text)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def _ask(self, member: str, text: str) -> subprocess.Popen[bytes]:
        host = self.lab.plan.host(self.host_of(member))
        psql = str(self.lab.programs.postgres_bin / "psql")
        socket_directory = str(self.lab.files.socket_directory(host))
        port = str(self.lab.plan.ports.postgres)
        command = (psql, "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", socket_directory, "-p", port,
                   "-U", "postgres", "-d", DATABASE, "-c", text)  # fmt: skip
        return self.lab.launch_on(
            host.name,
            command,
            user=self.lab.programs.postgres_user,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    # The witnesses

    def start_witnesses(self) -> None:
        tables = (
            f"CREATE ROLE {CLIENT_ROLE} LOGIN PASSWORD '{CLIENT_PASSWORD}'",
            "CREATE TABLE reference_client (n bigint PRIMARY KEY)",
            second_writer.CREATE_TABLE,
            f"GRANT ALL ON reference_client, {second_writer.TABLE} TO {CLIENT_ROLE}",
        )
        self.sql(self.primary, "; ".join(tables))
        password_file = self.folder / "password"
        password_file.write_text(CLIENT_PASSWORD)
        server, port = self.lab.plan.name_servers[0]
        command = (
            self.lab.programs.python, "-m", "deploy.bench.client",
            "--name", f"primary.{self.cluster}.{self.lab.plan.fleet.zone}",
            "--name-server", f"{server}:{port}",
            "--port", str(self.lab.plan.ports.postgres),
            "--user", CLIENT_ROLE, "--database", DATABASE, "--password-file", str(password_file),
            "--journal", str(self.journal_file),
        )  # fmt: skip
        self._client = self.lab.launch_on(
            CLIENT_HOST, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for member in self.members:
            self.start_poller(member)
        self._await_first_rows()

    def start_poller(self, member: str) -> None:
        """Also after its host was restarted."""
        old = self._pollers.get(member)
        if old is not None and old.poll() is None:
            return
        host = self.lab.plan.host(self.host_of(member))
        command = (
            self.lab.programs.python, "-m", "deploy.bench.second_writer",
            "--member", member, "--socket-directory", str(self.lab.files.socket_directory(host)),
            "--port", str(self.lab.plan.ports.postgres), "--user", CLIENT_ROLE, "--database", DATABASE,
            "--journal", str(self.folder / f"poller-{member}-{len(list(self.folder.iterdir()))}.jsonl"),
        )  # fmt: skip
        self._pollers[member] = self.lab.launch_on(
            host.name,
            command,
            user=self.lab.programs.postgres_user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def journal_file(self) -> Path:
        return self.folder / "client.jsonl"

    def journal(self) -> Journal:
        with self.journal_file.open() as lines:
            return read_journal(lines)

    def acknowledged_after(self, at_us: int) -> bool:
        """Whether the client was acknowledged later than this moment (CLOCK_MONOTONIC)."""
        return any(entry.sent_us > at_us for entry in self._newest().acknowledged)

    def _newest(self) -> Journal:
        """The end of the client's journal: all of it takes long to read after half an hour."""
        with self.journal_file.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - NEWEST_BYTES))
            lines = file.read().decode().splitlines(keepends=True)
        return read_journal(lines if size <= NEWEST_BYTES else lines[1:])

    def await_writes(self, at_us: int, within_s: float = 30.0) -> None:
        ends_at = time.monotonic() + within_s
        while not self.acknowledged_after(at_us):
            if time.monotonic() > ends_at:
                raise LabFailed(
                    f"the client was not acknowledged within {within_s:.0f} s; {short(self.watch.newest)}"
                )
            time.sleep(0.05)

    def _await_first_rows(self) -> None:
        ends_at = time.monotonic() + 20.0
        while not self.journal_file.exists() or not self.journal().acknowledged:
            if time.monotonic() > ends_at:
                raise LabFailed("the reference client wrote nothing within 20 s")
            time.sleep(0.05)

    def stop_witnesses(self) -> None:
        for process in (self._client, *self._pollers.values()):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in (self._client, *self._pollers.values()):
            if process is not None:
                try:
                    process.wait(5.0)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def read_back(self) -> frozenset[int]:
        """Every row that the primary has."""
        return frozenset(
            int(line) for line in self.sql(self.primary, "SELECT n FROM reference_client").split()
        )

    def losses(self) -> Losses:
        """All acknowledged rows and all that the pollers were acknowledged, against the primary.

        The journals are read before the tables, so that the witnesses may go on meanwhile.
        """
        journal = self.journal()
        second_writes = self.second_writes()
        lost = tuple(sorted(journal.numbers - self.read_back()))
        return Losses(len(journal.acknowledged), lost, second_writes)

    def second_writes(self) -> tuple[second_writer.Wrote, ...]:
        """What a poller was acknowledged and the primary does not have."""
        wrote: list[second_writer.Wrote] = []
        for path in sorted(self.folder.glob("poller-*.jsonl")):
            with path.open() as lines:
                wrote.extend(second_writer.read_pollers(lines))
        present: dict[str, set[int]] = {}
        for line in self.sql(self.primary, f"SELECT member, n FROM {second_writer.TABLE}").splitlines():
            member, _, n = line.partition("|")
            present.setdefault(member, set()).add(int(n))
        missing = second_writer.judge_pollers(wrote, {m: frozenset(n) for m, n in present.items()})
        return tuple(missing)

    def history(self, limit: int = 10) -> str:
        done = self.lab.primacy("history", self.cluster, "--limit", str(limit))
        return done.stdout if done.returncode == 0 else done.stderr

    def close(self) -> None:
        self.stop_witnesses()
        self.watch.close()
