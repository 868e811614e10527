"""Primacy's own canary against a client that knows nothing of it: both must have seen the same outage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.bench.verdict import outage_around
from deploy.lab.fault import now_us
from deploy.lab.fleet import Cluster, Fleet
from deploy.lab.witnessed import Witnessed
from tests.chaos.canary import Said, apart_ms, bounds_ms, newest_said
from tests.integration.fleets import (
    WITHIN_S,
    asked_status,
    assert_nothing_lost,
    await_failover,
    eventually,
    final,
    living,
    metrics_of,
    operate,
    primacy,
    standbys,
)

pytestmark = [pytest.mark.real, pytest.mark.slow]

WITHIN_MS = 50


@pytest.fixture(scope="module")
def fleet() -> Iterator[Witnessed]:
    with living(Fleet(clusters=(Cluster("shop", canary=True),))) as cluster:
        yield cluster


@pytest.fixture
def shop(fleet: Witnessed) -> Witnessed:
    fleet.whole(WITHIN_S)
    eventually(lambda: canary(fleet)["state"] == "writing", "the canary writes")
    return fleet


def canary(shop: Witnessed) -> dict[str, Any]:
    found: dict[str, Any] = asked_status(shop)["canary"]
    return found


def said_of(shop: Witnessed, epoch: int) -> Said:
    """Once the cluster is whole in this epoch: what its incident says, as soon as it says it."""
    shop.whole(WITHIN_S, epoch_at_least=epoch)
    found: list[Said] = []

    def is_said() -> bool:
        incidents = json.loads(primacy(shop, "history", "shop", "--json").stdout)
        said = newest_said(incidents, epoch - 1)
        found[:] = [] if said is None else [said]
        return bool(found)

    eventually(is_said, "the incident has the canary's figure")
    return found[0]


def test_an_idle_canary_s_writes_are_steady_and_leave_one_row(shop: Witnessed) -> None:
    at = canary(shop)
    assert at["acknowledged_age_ms"] < 1_000
    assert shop.sql(shop.primary, "select count(*) from primacy.canary").strip() == "1"
    leader = asked_status(shop)["leader"]
    found = metrics_of(shop, leader)
    label = '{cluster="shop",outcome="acknowledged",what="write"}'
    assert found[f"primacy_canary_attempts_total{label}"] > 10
    assert "canary writing" in primacy(shop, "status", "shop").stdout


def test_its_role_may_write_that_row_and_nothing_else(shop: Witnessed) -> None:
    rights = (
        "select has_table_privilege('primacy_canary', 'primacy.canary', 'SELECT, INSERT, DELETE'),"
        " has_table_privilege('primacy_canary', 'reference_client', 'SELECT, INSERT, UPDATE'),"
        " has_column_privilege('primacy_canary', 'primacy.canary', 'n', 'UPDATE'),"
        " has_schema_privilege('primacy_canary', 'primacy', 'CREATE'),"
        " (select rolsuper or rolreplication or rolcreaterole or rolcreatedb from pg_roles"
        "  where rolname = 'primacy_canary')"
    )
    assert shop.sql(shop.primary, rights).strip() == "f|f|t|f|f"


@pytest.mark.parametrize("fault", ["postmaster killed", "host lost", "switchover"])
def test_the_outage_in_the_incident_is_that_of_the_client(shop: Witnessed, fault: str) -> None:
    epoch, old = shop.epoch, shop.primary
    if fault == "switchover":
        at_us = now_us()
        code, steps = operate(shop, "switchover", "shop", "--to", standbys(shop)[-1])
        assert code == 0, final(steps)
    elif fault == "host lost":
        at_us = shop.lab.faults.lose_host(shop.host_of(old)).at_us
    else:
        at_us = shop.lab.faults.kill_postmaster("shop", old).at_us
    await_failover(shop, epoch=epoch, at_us=at_us)
    if fault == "host lost":
        shop.lab.faults.restart_host(shop.host_of(old))
        shop.start_poller(old)
    said = said_of(shop, epoch + 1)
    assert not said.at_least
    journal = shop.journal()
    seen = bounds_ms(journal, outage_around(journal, at_us))
    print(f"{fault}: the client {seen}, the canary {said}")
    assert apart_ms(said, seen) <= WITHIN_MS
    page = shop.history(1)
    assert "(seen by the canary)" in page
    assert_nothing_lost(shop)


def test_a_leader_that_takes_over_in_the_middle_says_that_it_saw_only_a_part(shop: Witnessed) -> None:
    epoch, old = shop.epoch, shop.primary
    leader = asked_status(shop)["leader"]
    at_us = shop.lab.faults.stop_daemon(f"{leader}/orchestrator").at_us
    # Its host: a primary whose postmaster alone died is started again by its agent while nobody leads.
    shop.lab.faults.lose_host(shop.host_of(old))
    await_failover(shop, epoch=epoch, at_us=at_us)
    shop.lab.faults.restart_host(shop.host_of(old))
    shop.start_poller(old)
    shop.lab.faults.start_daemon(f"{leader}/orchestrator")
    said = said_of(shop, epoch + 1)
    journal = shop.journal()
    outage = outage_around(journal, at_us)
    assert outage.length_us is not None
    assert said.at_least
    assert said.outage_ms <= outage.length_us / 1000 + WITHIN_MS
    assert "at least" in shop.history(1)
    assert said.outage_ms > 0, "how much of it is left depends on how fast the next leader is elected"
