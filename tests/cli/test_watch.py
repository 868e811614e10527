"""Watching: every status as it comes, across the death of a control node, on a terminal and into a pipe."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest

from common.clock import BootClock
from common.timebase import elapsed_ms
from orchestrator.cli import control
from orchestrator.cli.context import Connection
from orchestrator.cli.control import Answer, ControlNodes, Notice, watch
from tests.cli.scripted import Certificates, Node, cluster, member, primary, status_reply

PRIMACY = [sys.executable, "-m", "orchestrator.cli.main"]
ROOT = Path(__file__).parents[2]
WITHIN_S = 30


def connection(certificates: Certificates, *nodes: Node) -> Connection:
    return Connection(
        tuple(node.address for node in nodes),
        certificates.certificate_file.read_bytes(),
        certificates.key_file.read_bytes(),
        certificates.authority.certificate_pem,
    )


def every(seconds: float, *statuses: Any) -> Any:
    """The statuses, one after another, and the last one for ever."""

    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        remaining = list(statuses)
        while context.is_active():
            yield status_reply(remaining[0])(request, context)
            remaining = remaining[1:] or remaining
            time.sleep(seconds)

    return answer


async def test_a_watch_goes_on_at_the_next_node_when_the_first_one_dies(
    certificates: Certificates, make_node: Callable[[], Node]
) -> None:
    first, second = make_node(), make_node()
    first.says("Watch", every(0.05, cluster()))
    second.says("Watch", every(0.05, cluster(epoch=8)))
    seen: list[str] = []
    async with (
        asyncio.timeout(WITHIN_S),
        ControlNodes(connection(certificates, first, second), seen.append) as nodes,
        aclosing(watch(nodes, "shop")) as news,
    ):
        async for piece in news:
            if isinstance(piece, Notice):
                seen.append(piece.text)
            elif piece.address == first.address:
                await asyncio.to_thread(first.dies)
            else:
                break
    assert f"leaving {first.address}: " in seen[0]
    assert seen[-1] == f"left {first.address}; now from {second.address}"


async def test_a_frozen_node_is_left_because_it_says_nothing(
    certificates: Certificates, make_node: Callable[[], Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "WATCH_SILENT_S", 0.3)
    frozen, second = make_node(), make_node()

    def one_and_no_more(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield status_reply(cluster())(request, context)
        while context.is_active():
            time.sleep(0.02)

    frozen.says("Watch", one_and_no_more)
    second.says("Watch", every(0.05, cluster()))
    answered: list[str] = []
    async with (
        asyncio.timeout(WITHIN_S),
        ControlNodes(connection(certificates, frozen, second), print) as nodes,
        aclosing(watch(nodes, "shop")) as news,
    ):
        async for piece in news:
            if isinstance(piece, Answer):
                answered.append(piece.address)
            if second.address in answered:
                break
    assert answered == [frozen.address, second.address]


def test_into_a_pipe_only_what_matters_is_a_change(node: Node, env: dict[str, str]) -> None:
    only_ages = cluster(revision=4712, members=(primary("a", heard_age_ms=9), member("b"), member("c")))
    node.says("Watch", every(0.1, cluster(), only_ages, cluster(epoch=8, phase="SEALING", whole=False)))
    process = subprocess.Popen(
        [*PRIMACY, "status", "shop", "--watch"],
        cwd=ROOT,
        env={**os.environ, **env, "PRIMACY_CONTROL": node.address},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if "phase SEALING" in line:
            break
    process.send_signal(signal.SIGINT)
    assert process.wait(WITHIN_S) == 0
    assert sum("phase " in line for line in lines) == 2


def test_as_json_a_watch_is_a_line_for_each_status(node: Node, env: dict[str, str]) -> None:
    node.says("Watch", every(0.05, cluster()))
    process = subprocess.Popen(
        [*PRIMACY, "status", "--watch", "--json"],
        cwd=ROOT,
        env={**os.environ, **env, "PRIMACY_CONTROL": node.address},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(3):
        assert json.loads(process.stdout.readline())[0]["cluster"] == "shop"
    process.send_signal(signal.SIGINT)
    assert process.wait(WITHIN_S) == 0


def test_on_a_terminal_it_is_drawn_in_place_until_ctrl_c(node: Node, env: dict[str, str]) -> None:
    node.says("Watch", every(0.1, cluster(), cluster(epoch=8)))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
    process = subprocess.Popen(
        [*PRIMACY, "status", "shop", "--watch"],
        cwd=ROOT,
        env={**os.environ, **env, "PRIMACY_CONTROL": node.address, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = b""
    while b"epoch \x1b[0m8" not in screen:
        try:
            screen += os.read(ours, 4096)
        except OSError:  # it ended already
            pytest.fail(screen.decode())
    process.send_signal(signal.SIGINT)
    assert process.wait(WITHIN_S) == 0
    os.close(ours)
    assert b"\x1b[1A" in screen  # the cursor went up again: drawn in place
    assert b"Ctrl-C ends" in screen


def test_help_comes_without_loading_grpc_and_rich() -> None:
    """The time itself depends on the machine; what costs it does not."""
    program = (
        "import sys; from orchestrator.cli.app import app\n"
        "try: app(['--help'])\n"
        "finally: print('LOADED', sorted({'grpc', 'rich', 'msgspec'} & set(sys.modules)))"
    )
    began_at = BootClock().now()
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "LOADED []" in told.stdout
    for code in ("0    done", "3    refused", "4    no control node", "5    not whole"):
        assert code in told.stdout
    assert elapsed_ms(since=began_at, now=BootClock().now()) < 10_000
