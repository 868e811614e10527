"""The worlds of the contract; named is started once for all tests that only need its zone."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from deploy.lab import bind
from orchestrator.egress.dns_key import ServerAddress
from tests.adapters.dns.worlds import (
    LOOPBACK,
    AnswererWorld,
    BindWorld,
    World,
    answerer_world,
    free_port,
    named_running,
)


@pytest.fixture(scope="session")
def shared_named() -> Iterator[bind.NamedProcess]:
    with named_running() as named:
        yield named


@pytest.fixture
def bind_world(shared_named: bind.NamedProcess) -> BindWorld:
    return BindWorld(shared_named)


@pytest.fixture
async def own_world() -> AsyncIterator[AnswererWorld]:
    async with answerer_world() as world:
        yield world


@pytest.fixture(params=["bind", "answerer"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "bind":
        yield BindWorld(request.getfixturevalue("shared_named"))
    else:
        async with answerer_world() as own:
            yield own


@pytest.fixture
def silent() -> Iterator[ServerAddress]:
    """A server that takes everything and answers nothing."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
    ):
        port = free_port()
        udp.bind((LOOPBACK, port))
        tcp.bind((LOOPBACK, port))
        tcp.listen()
        yield ServerAddress(*udp.getsockname())
