"""What does not stop a primary: the death of its agent, its guard, the whole control plane, its standbys.

(protocol.md, "Staying up" and I14.) That writes went on is the client's word; that PostgreSQL was left alone
is the postmaster's process id.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from deploy.lab.fault import now_us
from deploy.lab.witnessed import Witnessed
from tests.integration.fleets import (
    SMALL,
    WITHIN_S,
    asked_status,
    assert_nothing_lost,
    assert_writes_go_on,
    eventually,
    living,
    log_of,
    postmaster_pid,
    standbys,
)

pytestmark = [pytest.mark.real, pytest.mark.slow]

LONGER_THAN_A_LEASE_US = 10_000_000


@pytest.fixture(scope="module")
def fleet() -> Iterator[Witnessed]:
    with living(SMALL) as cluster:
        yield cluster


@pytest.fixture
def shop(fleet: Witnessed) -> Witnessed:
    fleet.whole(WITHIN_S)
    return fleet


@contextmanager
def the_primary_left_alone(shop: Witnessed, *, patient: bool = False) -> Iterator[None]:
    """Same epoch, same PostgreSQL; and the client never gave a commit up, unless it had to be patient."""
    epoch, primary = shop.epoch, shop.primary
    pid, connects = postmaster_pid(shop, primary), len(shop.journal().connects)
    yield
    assert_writes_go_on(shop)
    whole = shop.whole(WITHIN_S)
    assert (whole["epoch"], whole["primary"]) == (epoch, primary)
    # A primary without any voter lives by the leader's leases alone; on a busy machine one may run out, and it
    # then starts again, closed, as it should (docs/progress.md).
    assert patient or postmaster_pid(shop, primary) == pid
    assert patient or len(shop.journal().connects) == connects
    assert_nothing_lost(shop)


def agent_pids(shop: Witnessed, name: str) -> list[int]:
    return _pids(shop, name, "agents.main")


def guard_pids(shop: Witnessed, name: str) -> list[int]:
    return _pids(shop, name, "agents.guard.main")


def _pids(shop: Witnessed, name: str, module: str) -> list[int]:
    file = str(shop.lab.files.config_file(shop.lab.plan.member_host("shop", name), "agent"))
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        words = process.info["cmdline"] or []
        if module in words and file in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(int(process.info["pid"]))
    return found


def log_length(shop: Witnessed) -> int:
    return len(log_of(shop, f"{shop.host_of(shop.primary)}/agent"))


def await_new_agent(shop: Witnessed, mark: int) -> None:
    """It has spoken with the leader."""
    daemon = f"{shop.host_of(shop.primary)}/agent"
    eventually(lambda: "session.opened" in log_of(shop, daemon)[mark:], "a new agent has opened its session")


@pytest.mark.covers("T44")
def test_a_killed_agent_is_started_again_by_its_guard_and_postgresql_goes_on(shop: Witnessed) -> None:
    with the_primary_left_alone(shop):
        (guard,) = guard_pids(shop, shop.primary)
        (agent,) = agent_pids(shop, shop.primary)
        mark = log_length(shop)
        os.kill(agent, signal.SIGKILL)
        await_new_agent(shop, mark)
        assert agent not in agent_pids(shop, shop.primary)
        assert guard_pids(shop, shop.primary) == [guard]


@pytest.mark.covers("S9", "S10")
def test_a_hanging_agent_is_replaced_by_its_guard_and_postgresql_goes_on(shop: Witnessed) -> None:
    with the_primary_left_alone(shop):
        (agent,) = agent_pids(shop, shop.primary)
        mark = log_length(shop)
        os.kill(agent, signal.SIGSTOP)
        await_new_agent(shop, mark)
        assert agent not in agent_pids(shop, shop.primary)


def test_a_killed_guard_comes_back_and_postgresql_goes_on(shop: Witnessed) -> None:
    with the_primary_left_alone(shop):
        (guard,) = guard_pids(shop, shop.primary)
        os.kill(guard, signal.SIGKILL)
        eventually(lambda: guard not in (now := guard_pids(shop, shop.primary)) and bool(now), "a guard runs")
        eventually(lambda: len(agent_pids(shop, shop.primary)) == 1, "one agent runs")


@pytest.mark.covers("S48", "S18")
def test_without_any_control_node_and_etcd_the_client_goes_on_writing(shop: Witnessed) -> None:
    plan, supervisor = shop.lab.plan, shop.lab.supervisor
    names = [f"{host.name}/orchestrator" for host in plan.control_hosts]
    names += [f"{host.name}/etcd" for host in plan.etcd_hosts]
    down = [supervisor.daemon(name) for name in names]
    with the_primary_left_alone(shop):
        for name in names:
            supervisor.stop(name, how=signal.SIGKILL)
        shop.await_writes(now_us() + LONGER_THAN_A_LEASE_US, WITHIN_S)
        assert all(supervisor.pid(name) is None for name in names)
        for daemon in down:
            supervisor.start(daemon)
        eventually(lambda: bool(shop.lab.primacy("status", "shop").returncode == 0), "a control node answers")


@pytest.mark.covers("S19")
def test_lost_standbys_leave_the_rule_and_come_back_into_it_while_writes_go_on(shop: Witnessed) -> None:
    first, last = standbys(shop)
    # While the last voter's loss is not certain yet, commits wait.
    with the_primary_left_alone(shop, patient=True):
        shop.lab.faults.lose_host(shop.host_of(first))
        shop.watch.until(lambda s: ruled(s, last) and not ruled(s, first), WITHIN_S, f"only {last} votes")
        assert_writes_go_on(shop)
        shop.lab.faults.lose_host(shop.host_of(last))
        shop.watch.until(lambda s: s["rule"] == "solo", WITHIN_S, "solo")
        assert_writes_go_on(shop)
        status = asked_status(shop)
        assert not status["whole"]
        assert not any(line["eligible"] for line in status["candidates"])
        shop.lab.faults.restart_host(shop.host_of(last))
        shop.watch.until(lambda s: ruled(s, last) and "->" not in s["rule"], WITHIN_S, f"{last} votes again")
        assert shop.sql(shop.primary, "SHOW synchronous_standby_names").startswith("ANY 1")
        assert_writes_go_on(shop)
        shop.lab.faults.restart_host(shop.host_of(first))
        for name in (first, last):
            shop.start_poller(name)


def ruled(status: dict[str, object], name: str) -> bool:
    return f"{name}." in str(status["rule"])
