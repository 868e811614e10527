"""Real control nodes that die at every point of a failover, a switchover and a rule change: the same end.

A chain of leaders does one job: the first dies at the first point, the next goes on and dies at the second.
Three chains visit every point of every phase; `make test` runs one for each job, all of them run with
PRIMACY_ALL_FAILPOINTS=1.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Sequence

import pytest

from deploy.lab.fault import now_us
from deploy.lab.fleet import CLIENT_HOST
from deploy.lab.witnessed import Witnessed
from orchestrator.shell.failpoints import EXIT_CODE, VARIABLE
from tests.integration.fleets import (
    SMALL,
    WITHIN_S,
    addresses,
    assert_nothing_lost,
    await_failover,
    eventually,
    living,
    log_of,
    resolved,
    standbys,
)

pytestmark = [pytest.mark.real, pytest.mark.slow]

ALL = os.environ.get("PRIMACY_ALL_FAILPOINTS") == "1"
POINTS = ("after_save", "before_dispatch", "after_dispatch")
FAILOVER_TAGS = ("SEALING", "PROMOTING", "STABLE", "RULES2", "RULES1")
"""The last two: the rule grows back when the old primary has come back (R6)."""
SWITCHOVER_TAGS = ("SEALING", "PROMOTING", "STABLE")
OUTCOMES = ("DONE", "REFUSED", "FAILED", "UNKNOWN")
"""How a line of the command begins that says how it ended."""


def chains(tags: Sequence[str], first: int) -> list[tuple[str, ...]]:
    """Each point of each tag once: three chains that begin with different points."""
    found = [
        tuple(f"{POINTS[(turn + at) % len(POINTS)]}:{tag}" for at, tag in enumerate(tags))
        for turn in range(len(POINTS))
    ]
    return found if ALL else [found[first]]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Witnessed]:
    with living(SMALL) as cluster:
        yield cluster


@pytest.fixture
def shop(fleet: Witnessed) -> Witnessed:
    fleet.whole(WITHIN_S)
    return fleet


class Leaders:
    """The control nodes of a small fleet, of which always the one that leads is about to die."""

    def __init__(self, cluster: Witnessed, points: Sequence[str]) -> None:
        self._cluster = cluster
        self._left = list(points)
        self._reading_from: dict[str, int] = {}

    def arm(self) -> None:
        """The first point waits in the leader, the second in the one that will follow it."""
        newest = self._cluster.watch.newest
        assert newest is not None
        leader = str(newest["leader"])
        (follower,) = (host.name for host in self._cluster.lab.plan.control_hosts if host.name != leader)
        self._line = [follower, leader]
        supervisor = self._cluster.lab.supervisor
        supervisor.stop(_daemon(follower), how=signal.SIGTERM)
        self._start(follower)
        supervisor.stop(_daemon(leader), how=signal.SIGTERM)
        eventually(lambda: self._took_over(follower), f"{follower} leads")
        self._start(leader)
        # What the new leader says, not the old one: it must have heard from everybody.
        self._cluster.watch.until(
            lambda s: s["leader"] == follower and bool(s["whole"]), WITHIN_S, f"whole under {follower}"
        )

    def die_one_after_the_other(self, count: int) -> None:
        """Each is started again once the next one has taken over, so that the order is this one."""
        for number in range(count):
            node, heir = self._line[number % 2], self._line[(number + 1) % 2]
            eventually(lambda node=node: self._ended(node), f"{node} dies at point {number + 1}")  # type: ignore[misc]
            assert self._cluster.lab.supervisor.ended_with(_daemon(node)) == EXIT_CODE, log_of(
                self._cluster, _daemon(node)
            )[-2000:]
            eventually(lambda heir=heir: self._took_over(heir), f"{heir} leads after {node}")  # type: ignore[misc]
            self._start(node)

    def _start(self, node: str) -> None:
        """With the next point; without one it is to live."""
        self._reading_from[node] = len(log_of(self._cluster, _daemon(node)))
        environment = {VARIABLE: self._left.pop(0)} if self._left else {}
        self._cluster.lab.start_control_node(
            self._cluster.lab.plan.host(node), environment=environment, restarts=not environment
        )

    def _ended(self, node: str) -> bool:
        return self._cluster.lab.supervisor.ended_with(_daemon(node)) is not None

    def _took_over(self, node: str) -> bool:
        return "leadership.gained" in log_of(self._cluster, _daemon(node))[self._reading_from[node] :]


def _daemon(node: str) -> str:
    return f"{node}/orchestrator"


def outcomes(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith(OUTCOMES)]


def assert_the_same_end(shop: Witnessed, *, epoch: int, primary_was: str) -> None:
    """As if nobody had died: one epoch later, somebody else, whole, under its name, nothing lost.

    A candidate that was given up because its leader died costs one epoch more (R4), and the account says so.
    """
    whole = shop.whole(WITHIN_S, epoch_at_least=epoch + 1)
    assert whole["epoch"] == epoch + 1 or "given up" in shop.history(2), shop.history(3)
    assert whole["primary"] != primary_was
    assert resolved(shop) == addresses(shop, whole["primary"])
    assert_nothing_lost(shop)


@pytest.mark.covers("S17")
@pytest.mark.parametrize("points", chains(FAILOVER_TAGS, first=0), ids="+".join)
def test_a_failover_and_the_growing_back_of_the_rule_survive_their_leaders(
    shop: Witnessed, points: tuple[str, ...]
) -> None:
    leaders = Leaders(shop, points)
    leaders.arm()
    epoch, old = shop.epoch, shop.primary
    fault = shop.lab.faults.kill_postmaster("shop", old)
    leaders.die_one_after_the_other(len(points))
    await_failover(shop, epoch=epoch, at_us=fault.at_us)
    assert_the_same_end(shop, epoch=epoch, primary_was=old)


@pytest.mark.parametrize("points", chains(SWITCHOVER_TAGS, first=1), ids="+".join)
def test_a_switchover_survives_its_leaders_and_has_one_outcome(
    shop: Witnessed, points: tuple[str, ...]
) -> None:
    leaders = Leaders(shop, points)
    leaders.arm()
    epoch, old, to = shop.epoch, shop.primary, standbys(shop)[0]
    at_us = now_us()
    words = ("switchover", "shop", "--to", to, "--request-id", secrets.token_hex(8))
    asking = shop.lab.launch_on(
        CLIENT_HOST, (*shop.lab.programs.cli, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        leaders.die_one_after_the_other(len(points))
        out, err = asking.communicate(timeout=WITHIN_S)
    finally:
        if asking.poll() is None:
            asking.kill()
            asking.communicate()
    said = out.decode() + err.decode()
    assert outcomes(out.decode()), f"the command ended with {asking.returncode}: {said}"
    (outcome,) = outcomes(out.decode())
    if outcome.startswith("UNKNOWN"):
        # Nobody was left to ask for a while. The same words again tell the outcome, and do nothing twice.
        assert asking.returncode == 1, said
        again = shop.lab.primacy(*words)
        (outcome,) = outcomes(again.stdout)
    assert outcome.startswith("DONE"), said
    await_failover(shop, epoch=epoch, at_us=at_us)
    assert_the_same_end(shop, epoch=epoch, primary_was=old)
    assert shop.primary == to or "given up" in shop.history(2)
