"""Logs are events with stable names; a secret never gets into one."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from common import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_an_event_carries_its_fields_and_who_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(program="agent", as_json=True, member="a")
    structlog.get_logger().info("order.obeyed", epoch=7)
    event = json.loads(capsys.readouterr().err)
    assert (event["event"], event["program"], event["member"], event["epoch"]) == (
        "order.obeyed",
        "agent",
        "a",
        7,
    )


@pytest.mark.covers("S88")
@pytest.mark.parametrize("name", ["password", "beat_key", "probe_password", "secret", "token"])
def test_secrets_are_masked(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(program="agent", as_json=True)
    structlog.get_logger().info("x.happened", **{name: "hunter2"})
    assert "hunter2" not in capsys.readouterr().err


def test_a_traceback_shows_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (True, False):
        logs.set_up(program="agent", as_json=as_json)
        secret = "hunter" + "2"
        try:
            raise ValueError(len(secret))
        except ValueError:
            structlog.get_logger().exception("x.failed")
        assert "hunter2" not in capsys.readouterr().err
