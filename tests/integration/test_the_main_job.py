"""The main job, whole, on real parts: three control nodes with etcd, three members, BIND, a writing client.

One fleet lives through all of it; each test begins with a whole cluster and leaves one behind.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.lab.fault import now_us
from deploy.lab.fleet import Fleet
from deploy.lab.witnessed import Witnessed
from tests.integration.fleets import (
    WITHIN_S,
    addresses,
    assert_nothing_lost,
    assert_writes_go_on,
    await_failover,
    final,
    living,
    member,
    operate,
    primacy,
    resolved,
    standbys,
)

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Witnessed]:
    with living(Fleet()) as cluster:
        yield cluster


@pytest.fixture
def shop(fleet: Witnessed) -> Witnessed:
    fleet.whole(WITHIN_S)
    return fleet


def test_a_cluster_is_born_with_its_rule_and_under_its_names(shop: Witnessed) -> None:
    status = shop.whole()
    assert status["epoch"] == 1
    assert status["rule"].startswith("ANY 1")
    assert [line["role"] for line in status["members"]].count("primary") == 1
    assert resolved(shop) == addresses(shop, shop.primary)
    assert resolved(shop, "replicas.shop.db.example.") == addresses(shop, *standbys(shop))
    assert shop.sql(shop.primary, "SHOW synchronous_standby_names").startswith("ANY 1")


@pytest.mark.covers("S5")
def test_after_a_killed_postmaster_a_standby_serves_under_the_name_and_nothing_is_lost(
    shop: Witnessed,
) -> None:
    epoch, old = shop.epoch, shop.primary
    fault = shop.lab.faults.kill_postmaster("shop", old)
    status = await_failover(shop, epoch=epoch, at_us=fault.at_us)
    assert status["primary"] != old
    assert status["epoch"] == epoch + 1
    assert resolved(shop) == addresses(shop, status["primary"])
    whole = shop.whole(WITHIN_S, epoch_at_least=epoch + 1)
    assert member(whole, old)["role"] == "standby"
    assert resolved(shop, "replicas.shop.db.example.") == addresses(shop, *standbys(shop))
    assert_nothing_lost(shop)


@pytest.mark.covers("S1", "S23")
def test_after_a_lost_host_the_same_and_the_old_primary_comes_back_as_a_standby(shop: Witnessed) -> None:
    epoch, old = shop.epoch, shop.primary
    fault = shop.lab.faults.lose_host(shop.host_of(old))
    assert fault.ends_sent == 0, "a lost host says no goodbye"
    status = await_failover(shop, epoch=epoch, at_us=fault.at_us)
    assert status["primary"] != old
    assert status["epoch"] == epoch + 1
    assert resolved(shop) == addresses(shop, status["primary"])
    assert not status["whole"]
    shop.lab.faults.restart_host(shop.host_of(old))
    shop.start_poller(old)
    whole = shop.whole(WITHIN_S, epoch_at_least=epoch + 1)
    assert whole["primary"] == status["primary"]
    assert member(whole, old)["role"] == "standby"
    assert_nothing_lost(shop)


@pytest.mark.covers("S83", "S40")
def test_a_switchover_has_one_outcome_and_the_old_primary_follows_without_a_rewind(shop: Witnessed) -> None:
    epoch, old = shop.epoch, shop.primary
    to = standbys(shop)[-1]
    before = shop.whole()
    at_us = now_us()
    code, steps = operate(shop, "switchover", "shop", "--to", to)
    assert (code, final(steps)["kind"]) == (0, "succeeded"), steps
    assert final(steps)["outage"] is not None
    status = await_failover(shop, epoch=epoch, at_us=at_us)
    assert status["primary"] == to
    whole = shop.whole(WITHIN_S, epoch_at_least=epoch + 1)
    assert whole["epoch"] == epoch + 1
    assert {m["name"]: m["incarnation"] for m in whole["members"]} == {
        m["name"]: m["incarnation"] for m in before["members"]
    }, "nobody was rewound or cloned"
    assert member(whole, old)["role"] == "standby"
    assert resolved(shop) == addresses(shop, to)
    assert_nothing_lost(shop)


def test_a_switchover_that_is_asked_twice_by_one_id_happens_once(shop: Witnessed) -> None:
    epoch = shop.epoch
    words = ("switchover", "shop", "--request-id", "once-and-no-more")
    first, second = operate(shop, *words), operate(shop, *words)
    assert first[0] == second[0] == 0
    assert final(first[1])["operation"] == final(second[1])["operation"]
    assert shop.whole(WITHIN_S, epoch_at_least=epoch + 1)["epoch"] == epoch + 1
    assert_writes_go_on(shop)
    assert_nothing_lost(shop)


def test_the_history_tells_what_happened_and_why(shop: Witnessed) -> None:
    import json

    told = json.loads(primacy(shop, "history", "shop", "--json").stdout)
    by_epoch = {incident["epoch"]: incident for incident in told}
    crashed, lost, asked = by_epoch[2], by_epoch[3], by_epoch[4]
    for incident in (crashed, lost, asked):
        assert incident["outcome"] == "succeeded"
        assert incident["data_lost_bytes"] == 0
        assert {"serving", "names", "whole"} <= {step["name"] for step in incident["steps"]}
    assert crashed["operation"] == lost["operation"] == ""
    assert asked["operation"]
    assert len({crashed["cause"], lost["cause"], asked["cause"]}) == 3
    page = shop.history()
    assert crashed["cause"] in page or "crash" in page.lower()
