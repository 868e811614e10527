"""The HTTP port: metrics, health, and a plain page of what every control node sees itself.

Served inside this process. Everything it shows is asked of the loop at the moment of the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import socket
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from common.codec import encode
from common.errors import BadConfig
from orchestrator.core.status import ClusterStatus
from orchestrator.telemetry.metrics import Metrics

REFRESH_S = 2

Statuses = Callable[[], Sequence[ClusterStatus]]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the daemon."""
        yield


class HttpServer:
    def __init__(
        self,
        metrics: Metrics,
        *,
        node: str,
        statuses: Statuses,
        leader: Callable[[], str],
        is_ready: Callable[[], bool],
    ) -> None:
        self._metrics, self._node = metrics, node
        self._statuses, self._leader, self._is_ready = statuses, leader, is_ready
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/status.json", self._status),
                Route("/metrics", self._scrape),
                Route("/health/live", self._live),
                Route("/health/ready", self._ready),
            ]
        )

    async def run(self, listening: socket.socket) -> None:
        """Until cancelled."""
        config = uvicorn.Config(self.app, lifespan="off", log_config=None, access_log=False)
        server = _Server(config)
        try:
            await server.serve(sockets=[listening])
        finally:
            for each in getattr(server, "servers", ()):
                each.close()  # cancelled: uvicorn leaves its sockets with the event loop

    async def _scrape(self, request: Request) -> Response:
        # In a thread: with thousands of clusters this takes a good part of a second, and beats go on meanwhile.
        # `?name[]=` as in other exporters: only these.
        text = await asyncio.to_thread(self._metrics.text, request.query_params.getlist("name[]"))
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def _live(self, _request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, _request: Request) -> Response:
        ready = self._is_ready()
        return JSONResponse({"ready": ready}, status_code=200 if ready else 503)

    async def _status(self, _request: Request) -> Response:
        return Response(encode(list(self._statuses())), media_type="application/json")

    async def _page(self, _request: Request) -> Response:
        parts = [_cluster(status) for status in self._statuses()] or ["<p>No cluster was applied yet.</p>"]
        return HTMLResponse(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="refresh" content="{REFRESH_S}"><title>Primacy</title>'
            "<style>body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
            "td,th{border:1px solid #999;padding:.2em .6em;text-align:left}</style></head><body>"
            f"<h1>Primacy</h1><p>As {_text(self._node)} sees it. "
            f"Leader: {_text(self._leader() or 'nobody')}.</p>" + "".join(parts) + "</body></html>"
        )


def _cluster(status: ClusterStatus) -> str:
    heads = ("member", "address", "role", "state", "timeline", "position", "heard", "activity", "error")
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{_text(cell)}</td>"
            for cell in (
                member.name,
                f"{member.address}:{member.port}",
                member.role,
                member.state,
                member.timeline,
                member.position,
                "never" if member.heard_age_ms is None else f"{member.heard_age_ms} ms ago",
                member.activity,
                member.error,
            )
        )
        + "</tr>"
        for member in status.members
    )
    reasons = "".join(f"<li>{_text(line.reason)}: {_text(line.text)}</li>" for line in status.reasons)
    return (
        f"<h2>{_text(status.cluster)}</h2><p>epoch {status.epoch}, {_text(status.phase)}, primary "
        f"{_text(status.primary or 'none')}, rule {_text(status.rule)}, {_text(status.diagnosis)}, "
        f"{'whole' if status.whole else 'not whole'}</p><ul>{reasons}</ul><table><tr>"
        + "".join(f"<th>{head}</th>" for head in heads)
        + f"</tr>{rows}</table>"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def listen(address: str, port: int) -> socket.socket:
    """Raise BadConfig when the port can't be had."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address, port))
    except OSError as error:
        listening.close()
        raise BadConfig([f"HTTP: can't listen on {address}:{port}: {error.strerror}"]) from error
    return listening
