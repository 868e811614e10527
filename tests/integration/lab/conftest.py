"""Stand-ins for the daemons, and what the tests of the lab share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.bench.plain import PlainServer, wait_for
from deploy.lab.fleet import Fleet, Wiring
from deploy.lab.lab import Lab
from deploy.lab.programs import Programs
from deploy.lab.run_folder import RunId, make_run_folder, remove_folder
from deploy.lab.sweep import dismiss_janitor, start_janitor
from tests.integration.lab.dns_stub import DnsStub
from tests.needs import needs_bind, needs_etcd, needs_netns, needs_nft, needs_postgresql

STAND_IN = ("/bin/sh", "-c", "exec sleep 1000")


def stand_ins() -> Programs:
    needs_postgresql()
    needs_etcd()
    return replace(Programs.discover(), orchestrator=STAND_IN, agent=STAND_IN)


@pytest.fixture(params=[Wiring.NAMESPACES, Wiring.LOOPBACK], ids=lambda wiring: wiring.value)
def wiring(request: pytest.FixtureRequest) -> Wiring:
    chosen: Wiring = request.param
    if chosen is Wiring.NAMESPACES:
        needs_netns()
        needs_nft()
    return chosen


@pytest.fixture
def lab(wiring: Wiring) -> Iterator[Lab]:
    """Built, nothing started."""
    needs_bind()
    with Lab(Fleet(), stand_ins(), wiring=wiring) as built:
        yield built


@pytest.fixture
def cut_lab() -> Iterator[Lab]:
    """One whose links can be cut."""
    needs_netns()
    needs_nft()
    needs_bind()
    with Lab(Fleet(), stand_ins(), wiring=Wiring.NAMESPACES) as built:
        yield built


@pytest.fixture
def name_server() -> Iterator[DnsStub]:
    with DnsStub() as stub:
        yield stub


@pytest.fixture(scope="module")
def plain_server() -> Iterator[PlainServer]:
    """A plain server with the witnesses' tables, outside any lab."""
    needs_postgresql()
    programs, run = Programs.discover(), RunId.of_this_process()
    folder, janitor = make_run_folder(run), start_janitor(run)
    server = one_server(folder, programs)
    try:
        server.initialise()
        server.lead()
        server.start()
        server.query("CREATE TABLE reference_client (n bigint PRIMARY KEY)")
        yield server
    finally:
        if server.data.exists():
            server.stop()
        remove_folder(folder)
        dismiss_janitor(janitor)


@pytest.fixture
def postgres(plain_server: PlainServer) -> PlainServer:
    """It waits for nobody, and its table is empty."""
    plain_server.lead()
    plain_server.reload()
    wait_for(lambda: plain_server.query("SHOW synchronous_standby_names") == "")
    plain_server.query("TRUNCATE reference_client")
    return plain_server


def one_server(folder: Path, programs: Programs) -> PlainServer:
    (server,) = PlainServer.in_folder(folder, ("alone",), programs.postgres_bin, programs.postgres_user)
    return server
