"""The agent's HTTP answers: role checks and metrics."""

from __future__ import annotations

import pytest

from agents.metrics import HttpServer
from common.assignment import Version
from common.facts import Facts, PostgresState
from common.ids import ClusterName, IncarnationId, MemberName


def server(**facts: object) -> HttpServer:
    values = {"postmaster_alive": True, **facts}
    known = Facts(ClusterName("shop"), MemberName("a"), IncarnationId("0" * 16), Version(7, 9), **values)  # type: ignore[arg-type]
    return HttpServer("127.0.0.1", 0, lambda: known, lambda: {"beat_sent": 3})


@pytest.mark.parametrize(
    ("facts", "path", "status"),
    [
        ({"postgres": PostgresState.PRIMARY, "open": True}, "/primary", 200),
        ({"postgres": PostgresState.PRIMARY, "open": False}, "/primary", 503),
        ({"postgres": PostgresState.STANDBY, "upstream": "a.1@7"}, "/replica", 200),
        ({"postgres": PostgresState.STANDBY}, "/replica", 503),
        ({"postgres": PostgresState.PRIMARY, "open": True}, "/replica", 503),
        ({}, "/health", 200),
        ({"postmaster_alive": False}, "/health", 503),
        ({}, "/etc/passwd", 404),
    ],
)
def test_role_checks(facts: dict[str, object], path: str, status: int) -> None:
    assert server(**facts).answer(f"GET {path} HTTP/1.1")[0].startswith(str(status))


def test_metrics_name_the_epoch_and_the_events() -> None:
    status, body = server().answer("GET /metrics HTTP/1.1")
    assert status == "200 OK"
    assert b"primacy_agent_obeyed_epoch 7.0" in body
    assert b'primacy_agent_events_total{kind="beat_sent"} 3.0' in body
    assert server().answer("POST /metrics HTTP/1.1")[0].startswith("405")
