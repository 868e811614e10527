"""Who is woken when: the commit that opens the door, and the startup process (docs/decisions/less-work-in-a-failover.md)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agents.core.steps import PlaceHistories
from agents.postgres.probe_commit import ALIVE_AND_LOADED, NUDGE_ONCE_ONE_STREAMS, ProbeCommits
from agents.postgres.sql import Pending, Row
from common.facts import WriteState
from common.lsn import Lsn
from tests.adapters.postgres.kit import SOLO, Home, eventually

pytestmark = pytest.mark.real

RULE = 'ANY 1 ("b.1@1")'
LOADED = "select pg_conf_load_time()"
"""Of a new session: when the postmaster read the settings."""


async def test_while_clients_wait_the_commit_that_waits_is_acknowledged_once_a_standby_streams(
    home: Home,
) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve(RULE)
        alone = await a.instance.probe_commit(RULE, 20, opening=True)
        assert alone.state is WriteState.WAITING
        await b.follow(a)
        outcome = alone
        for _ in range(100):
            if outcome.acknowledged:
                break
            outcome = await a.instance.probe_commit(RULE, 20, opening=True)
        assert (outcome.state, outcome.begun_at) == (WriteState.ACKNOWLEDGED, alone.begun_at)


class _ReleasedMeanwhile(ProbeCommits):
    """While it looks whether its commit waits, that commit is released."""

    release: Callable[[], object] = staticmethod(lambda: None)

    async def _look_at(self, pending: Pending) -> list[Row]:
        self.release()
        assert await pending.done_within(10_000)
        return await super()._look_at(pending)


async def test_a_commit_that_is_released_while_somebody_looks_is_not_taken_for_one_that_was_never_flushed(
    home: Home,
) -> None:
    """A fifth of all packets lost: a voter came back in that very moment, and the primary was failed over as one that
    can't write."""
    async with home.member("a") as a:
        await a.serve(RULE)
        probe = _ReleasedMeanwhile(a.config, a.clock)
        a.ask("alter system set synchronous_standby_names = ''")
        probe.release = lambda: a.ask("select pg_reload_conf()")
        try:
            assert (await probe.probe(RULE, 20)).state is WriteState.ACKNOWLEDGED
        finally:
            await probe.close()


class _OneLook(ProbeCommits):
    """Only at this look it sees what is; at every other one a commit that neither waits nor is through."""

    real, looks = 1, 0

    async def _look_at(self, pending: Pending) -> list[Row]:
        self.looks += 1
        return await super()._look_at(pending) if self.looks == self.real else [(False, False)]


@pytest.mark.parametrize(
    ("real", "states"),
    [
        pytest.param(2, [WriteState.WAITING], id="flushed_while_somebody_looks"),
        pytest.param(1, [WriteState.WAITING, WriteState.WAITING, WriteState.STALLED], id="waited_before"),
    ],
)
async def test_a_commit_is_stalled_only_once_two_looks_find_it_neither_waiting_nor_answered(
    home: Home, real: int, states: list[WriteState]
) -> None:
    async with home.member("a") as a:
        await a.serve(RULE)
        probe = _OneLook(a.config, a.clock)
        probe.real = real
        try:
            assert [(await probe.probe(RULE, 20)).state for _ in states] == states
        finally:
            await probe.close()


async def test_the_nudge_that_waits_for_a_standby_is_a_flushed_commit(home: Home) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve(SOLO)
        for _ in range(2):  # nobody streams, and then somebody does
            flushed = Lsn.parse(a.ask("select pg_current_wal_flush_lsn()::text"))
            a.ask(NUDGE_ONCE_ONE_STREAMS)
            assert Lsn.parse(a.ask("select pg_current_wal_flush_lsn()::text")) > flushed
            await b.follow(a)


async def test_what_keeps_the_session_of_the_nudge_warm_is_taken_by_a_standby_and_without_the_language(
    home: Home,
) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        a.ask("drop extension plpgsql")
        await b.follow(a)
        await eventually(lambda: b.has_replayed(a))
        for member in (a, b, b):
            member.ask(ALIVE_AND_LOADED)


async def test_placing_history_files_wakes_the_startup_process_alone_and_everybody_where_there_is_none(
    home: Home,
) -> None:
    async with home.member("a") as a, home.member("b") as b:
        await a.serve()
        await b.follow(a)
        loaded = {member: member.ask(LOADED) for member in (a, b)}
        await b.perform(PlaceHistories(1, ()))
        await a.perform(PlaceHistories(1, ()))
        await eventually(lambda: a.ask(LOADED) > loaded[a])
        assert b.ask(LOADED) == loaded[b]
