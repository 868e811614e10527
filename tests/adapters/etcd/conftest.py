"""One etcd for the session; each test gets a fleet of its own in it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from common.clock import BootClock
from orchestrator.etcd.client import Client
from orchestrator.etcd.keyspace import Keyspace
from tests.adapters.etcd.relay import Relay
from tests.adapters.etcd.scratch_etcd import EtcdMember, etcd_binary, scratch_cluster


@pytest.fixture(scope="session")
def etcd_is_installed() -> None:
    if etcd_binary() is None:
        pytest.skip("needs etcd, get it by: apt-get install etcd-server (or set PRIMACY_ETCD)")


@pytest.fixture(scope="session")
def etcd(etcd_is_installed: None) -> Iterator[EtcdMember]:
    """Shared: never killed, never frozen, never compacted by a test."""
    with scratch_cluster() as members:
        yield members[0]


@pytest.fixture
def own_etcd(etcd_is_installed: None) -> Iterator[EtcdMember]:
    """For tests that ill-treat it."""
    with scratch_cluster() as members:
        yield members[0]


@pytest.fixture
def clock() -> BootClock:
    return BootClock()


@pytest.fixture
def keys() -> Keyspace:
    return Keyspace(f"test-{secrets.token_hex(6)}")


@pytest.fixture
async def client(etcd: EtcdMember, clock: BootClock) -> AsyncIterator[Client]:
    client = Client([etcd.address], clock=clock)
    yield client
    await client.close()


@pytest.fixture
async def relay(etcd: EtcdMember) -> AsyncIterator[Relay]:
    async with Relay(etcd.client_port) as relay:
        yield relay


@pytest.fixture
async def relayed_client(relay: Relay, clock: BootClock) -> AsyncIterator[Client]:
    client = Client([relay.address], clock=clock)
    yield client
    await client.close()
