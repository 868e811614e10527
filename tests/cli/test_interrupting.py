"""Ctrl-C while an operation that may have begun is looked for: how to look again is not lost with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from orchestrator.cli import control
from orchestrator.cli.commands import OperationWanted, operate
from orchestrator.cli.context import Connection
from orchestrator.cli.screen import Screen
from protos import operator_pb2 as pb
from tests.cli.scripted import Certificates, Node

WITHIN_S = 10


@pytest.mark.parametrize("may_have_begun", [True, False])
async def test_it_is_said_how_to_look_again_where_it_may_have_begun(
    certificates: Certificates,
    node: Node,
    may_have_begun: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(control, "LEADER_WITHIN_MS", 100 if may_have_begun else 60_000)
    beside = (("primacy-may-have-begun", "1"),) if may_have_begun else ()

    def is_lost(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.set_trailing_metadata(beside)
        context.abort(grpc.StatusCode.UNAVAILABLE, "control1 does not lead, and knows of nobody who does")

    node.says("Switchover", is_lost)
    files = (certificates.certificate_file, certificates.key_file, certificates.ca_file)
    connection = Connection((node.address,), *(file.read_bytes() for file in files))
    wanted = OperationWanted(
        "Switchover",
        lambda request_id: pb.SwitchoverRequest(cluster="shop", request_id=request_id),
        "shop",
        "primacy switchover shop",
        "request-1",
        as_json=False,
    )
    asking = asyncio.ensure_future(operate(Screen(), connection, wanted))
    async with asyncio.timeout(WITHIN_S):
        # The fourth asking comes after what the first three led to was said.
        while node.times_asked("Switchover") < 4:
            await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    said = " ".join(capsys.readouterr().err.split())
    assert ("primacy switchover shop --request-id request-1" in said) == may_have_begun
