"""Plain libpq with deadlines, and one query to a name server: what every witness is made of.

Nothing of Primacy is imported here or by the programs that use this module; what they see must not
depend on what they judge. A session is given up by shutting its socket down: no cancel request is ever
sent, because PostgreSQL answers a cancelled synchronous commit with success and a WARNING.
"""

from __future__ import annotations

import os
import select
import socket
import time
from dataclasses import dataclass, field

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import psycopg
from psycopg import pq
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, PollingStatus
from psycopg.pq.abc import PGconn, PGresult


class ConnectFailed(Exception):
    """`outcome` is one word: no_address, name_server_silent, refused, timeout, error."""

    def __init__(self, outcome: str, detail: str = "", address: str = "") -> None:
        super().__init__(f"{outcome} {detail}")
        self.outcome = outcome
        self.detail = detail
        self.address = address


def now_us() -> int:
    return time.monotonic_ns() // 1000


def resolve(name: str, server: str, port: int, *, deadline_us: int) -> tuple[str, int]:
    """The first A record and its TTL in seconds, from that server itself, without a cache."""
    question = dns.message.make_query(name, dns.rdatatype.A)
    try:
        answer = dns.query.udp(question, server, port=port, timeout=_left_s(deadline_us))
    except dns.exception.Timeout as error:
        raise ConnectFailed("name_server_silent", server) from error
    except (OSError, dns.exception.DNSException) as error:
        raise ConnectFailed("name_server_failed", f"{server}: {error}") from error
    for found in answer.answer:
        if found.rdtype == dns.rdatatype.A:
            return str(found[0]), found.ttl
    raise ConnectFailed("no_address", str(answer.rcode()))


@dataclass(frozen=True, slots=True)
class Answer:
    """`ok` is a success without a warning. `certain` says whether a failure is one for sure."""

    ok: bool
    certain: bool
    outcome: str  # ack, warning, error, timeout, broken
    detail: str = ""
    value: str | None = None


@dataclass(slots=True)
class Session:
    """One connection. After any failure it is of no further use: `give_up`."""

    _connection: PGconn
    _warnings: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, conninfo: str, *, deadline_us: int, address: str = "") -> Session:
        connection = pq.PGconn.connect_start(conninfo.encode())
        session = cls(connection)
        try:
            session._finish_connecting(deadline_us, address)
        except ConnectFailed:
            session.give_up()
            raise
        connection.notice_handler = session._note
        connection.nonblocking = 1
        return session

    @classmethod
    def open_blocking(cls, conninfo: str) -> Session:
        """As an ordinary program does it: libpq itself watches over connect_timeout."""
        connection = pq.PGconn.connect(conninfo.encode())
        session = cls(connection)
        if connection.status != ConnStatus.OK:
            detail = _text(connection.error_message)
            session.give_up()
            raise ConnectFailed("timeout" if "timeout" in detail else "refused", detail)
        connection.notice_handler = session._note
        connection.nonblocking = 1
        return session

    def run(self, statement: str, arguments: list[str], *, deadline_us: int) -> Answer:
        """One statement, autocommit."""
        self._warnings.clear()
        connection = self._connection
        try:
            connection.send_query_params(statement.encode(), [argument.encode() for argument in arguments])
            results = self._results(deadline_us)
        except TimeoutError:
            return Answer(ok=False, certain=False, outcome="timeout")
        except (OSError, psycopg.Error) as error:
            return Answer(ok=False, certain=False, outcome="broken", detail=str(error).strip())
        return self._judged(results)

    def give_up(self) -> None:
        """Shuts the socket down first, so that nothing more is said to the server, not even goodbye."""
        try:
            sock = socket.socket(fileno=os.dup(self._connection.socket))
        except (OSError, psycopg.Error):
            pass
        else:
            with sock:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self._connection.finish()

    def _finish_connecting(self, deadline_us: int, address: str) -> None:
        connection = self._connection
        while True:
            if connection.status == ConnStatus.BAD:
                raise ConnectFailed("refused", _text(connection.error_message), address)
            state = connection.connect_poll()
            if state == PollingStatus.OK:
                return
            if state == PollingStatus.FAILED:
                raise ConnectFailed("refused", _text(connection.error_message), address)
            wants = select.POLLIN if state == PollingStatus.READING else select.POLLOUT
            try:
                _wait(connection.socket, wants, deadline_us)
            except TimeoutError:
                raise ConnectFailed("timeout", "", address) from None

    def _results(self, deadline_us: int) -> list[PGresult]:
        connection = self._connection
        results: list[PGresult] = []
        while connection.flush():
            _wait(connection.socket, select.POLLIN | select.POLLOUT, deadline_us)
            connection.consume_input()
        while True:
            while connection.is_busy():
                _wait(connection.socket, select.POLLIN, deadline_us)
                connection.consume_input()
            result = connection.get_result()
            if result is None:
                return results
            results.append(result)

    def _judged(self, results: list[PGresult]) -> Answer:
        for result in results:
            if result.status not in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}:
                code = result.error_field(DiagnosticField.SQLSTATE)
                detail = f"{_text(code or b'')} {_text(result.error_message)}".strip()
                # An error that the server itself reports means that nothing was committed, unless the
                # connection went down with it: then there is no SQLSTATE, or one of the class 57P or 08.
                certain = code is not None and not code.startswith((b"57P", b"08", b"XX"))
                return Answer(ok=False, certain=certain, outcome="error", detail=detail)
        if self._warnings:
            return Answer(ok=False, certain=False, outcome="warning", detail="; ".join(self._warnings))
        last = results[-1] if results else None
        value = last.get_value(0, 0) if last is not None and last.ntuples else None
        return Answer(ok=True, certain=True, outcome="ack", value=None if value is None else _text(value))

    def _note(self, notice: PGresult) -> None:
        if notice.error_field(DiagnosticField.SEVERITY_NONLOCALIZED) == b"WARNING":
            self._warnings.append(_text(notice.error_field(DiagnosticField.MESSAGE_PRIMARY) or b""))


def _wait(descriptor: int, wants: int, deadline_us: int) -> None:
    poll = select.poll()
    poll.register(descriptor, wants)
    left_ms = (deadline_us - now_us()) / 1000
    if left_ms <= 0 or not poll.poll(left_ms):
        raise TimeoutError


def _left_s(deadline_us: int) -> float:
    return max(deadline_us - now_us(), 1) / 1e6


def _text(raw: bytes | memoryview) -> str:
    return bytes(raw).decode(errors="replace").strip()


def conninfo_quoted(**settings: str | int) -> str:
    """libpq's key='value' text, with quotes and backslashes escaped."""

    def escaped(value: str | int) -> str:
        return str(value).replace("\\", "\\\\").replace("'", "\\'")

    return " ".join(f"{key}='{escaped(value)}'" for key, value in settings.items())
