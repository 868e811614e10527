"""HTTP on a local address: metrics for Prometheus, role checks for HAProxy and the like.

`/metrics`; `/primary` 200 on an open primary; `/replica` 200 on a standby that streams; `/health` 200 while
PostgreSQL runs. Everything else is 404, every other method 405. One short answer, then the connection ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from common.facts import Facts, PostgresState, WriteState

REQUEST_BYTES_MAX: Final = 8192
REQUEST_WITHIN_S: Final = 2.0
CONNECTIONS_MAX: Final = 32


class AgentCollector(Collector):
    def __init__(self, facts: Callable[[], Facts], counts: Callable[[], dict[str, int]]) -> None:
        self._facts, self._counts = facts, counts

    def collect(self) -> Iterable[Metric]:
        facts = self._facts()
        for name, text, value in _gauges(facts):
            yield GaugeMetricFamily(f"primacy_agent_{name}", text, value=value)
        state = GaugeMetricFamily("primacy_agent_postgres_state", "1 for the present state", labels=["state"])
        for each in PostgresState:
            state.add_metric([each.value], float(facts.postgres is each))
        yield state
        write = GaugeMetricFamily(
            "primacy_agent_write_state", "1 for what the probe commit says", labels=["state"]
        )
        for outcome in WriteState:
            write.add_metric([outcome.value], float(facts.write_state is outcome))
        yield write
        events = CounterMetricFamily("primacy_agent_events", "Things that happened, by kind", labels=["kind"])
        for kind, count in sorted(self._counts().items()):
            events.add_metric([kind], count)
        yield events


def _gauges(facts: Facts) -> Iterable[tuple[str, str, float]]:
    yield "postmaster_up", "1 while the postmaster lives", facts.postmaster_alive
    yield "open", "1 while clients are let in", facts.open
    yield "obeyed_epoch", "Epoch of the order last obeyed", facts.obeyed.epoch
    yield "obeyed_revision", "Revision of the order last obeyed", facts.obeyed.revision
    yield "timeline", "Timeline of PostgreSQL", facts.timeline
    yield "flushed_lsn_bytes", "Flush position in the log", facts.flushed_lsn
    yield "replay_backlog_bytes", "Received and not yet replayed", facts.replay_backlog_bytes
    yield "error", "1 while something went wrong (primacy status says what)", bool(facts.error)
    if facts.free_mib is not None:
        yield "free_mib", "Free space beside the data directory", facts.free_mib
    if facts.write_age_ms is not None:
        yield (
            "write_age_seconds",
            "Since the newest acknowledged probe commit began",
            facts.write_age_ms / 1000,
        )


class HttpServer:
    def __init__(
        self, address: str, port: int, facts: Callable[[], Facts], counts: Callable[[], dict[str, int]]
    ) -> None:
        self._address, self._port, self._facts = address, port, facts
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(AgentCollector(facts, counts))
        self._connections = 0

    async def run(self) -> None:
        server = await asyncio.start_server(self._serve, self._address, self._port, limit=REQUEST_BYTES_MAX)
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            async with asyncio.timeout(REQUEST_WITHIN_S):
                if self._connections <= CONNECTIONS_MAX:
                    head = await reader.readuntil(b"\r\n\r\n")
                    status, body = self.answer(head.split(b"\r\n", 1)[0].decode("latin-1"))
                    writer.write(
                        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                        + body
                    )
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            self._connections -= 1
            with suppress(OSError):
                writer.close()

    def answer(self, request_line: str) -> tuple[str, bytes]:
        method, _, rest = request_line.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in {"GET", "HEAD", "OPTIONS"}:
            return "405 Method Not Allowed", b"GET only\n"
        if path == "/metrics":
            return "200 OK", generate_latest(self._registry)
        facts = self._facts()
        checks = {
            "/primary": facts.postgres is PostgresState.PRIMARY and facts.postmaster_alive and facts.open,
            "/replica": facts.postgres is PostgresState.STANDBY
            and facts.postmaster_alive
            and bool(facts.upstream),
            "/health": facts.postmaster_alive,
        }
        if path not in checks:
            return "404 Not Found", b"/metrics, /primary, /replica, /health\n"
        words = f"{facts.cluster}/{facts.member} {facts.postgres.value} epoch {facts.obeyed.epoch}\n".encode()
        return ("200 OK" if checks[path] else "503 Service Unavailable"), words
