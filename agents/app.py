"""The agent, put together: who tells whom. One TaskGroup; a part that fails unforeseen ends the process,
and the guard starts it again. PostgreSQL goes on either way.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import structlog

from agents import profile_file
from agents.calm import Calm
from agents.config import AgentConfig
from agents.core.lost import renewed, why_renewed
from agents.core.served import rule_served
from agents.core.state import FlushedMark
from agents.core.steps import Look, Sight, StepFailed
from agents.driver import Driver, new_incarnation
from agents.epoch_store import EpochStore
from agents.facts_keeper import FactsKeeper
from agents.fencing import Fencing
from agents.guard.channel import Report, Word
from agents.guard_link import GuardLink, become_guard, guard_command
from agents.hands import Hands
from agents.link.beat import Beats
from agents.link.relay import Relay
from agents.link.reports import Urgency
from agents.link.session import Session
from agents.metrics import HttpServer
from agents.postgres.config import InstanceConfig
from agents.postgres.instance import Instance
from agents.prober import Prober
from common.clock import BootClock
from common.ids import IncarnationId
from common.profile import Profile
from common.rule import RuleKind
from common.timebase import MS_US, Instant, after_ms

log: Any = structlog.get_logger()

MARK_EVERY_S: Final = 1.0
ROOM_EVERY_S: Final = 30.0
MEASURE_BUSY_S: Final = 0.1
"""While something changes, so that the leader sees it soon. What a recipe did it tells itself; measuring at each of its
steps would take the time that they need."""
LOOK_AFTER_DEATH_S: Final = 0.05
"""A leader that hears of the death has ordered a seal by then: looking around before, beside whoever takes over, would be
for nothing. A start in place waits for seconds, unless nobody else can serve."""
BUSY_FOR_MS: Final = 3_000


class Agent:
    def __init__(self, config: AgentConfig, store: EpochStore, *, untested_version: bool = False) -> None:
        """`store` was loaded: `store.current` is there."""
        self._config, self._store, self._clock = config, store, BootClock()
        self._profile = profile_file.load(config.state_directory)
        self._instance = Instance(
            instance_config(config, untested_version=untested_version),
            self._clock,
            lambda: store.current.incarnation,
        )
        self._keeper = FactsKeeper(store.current, self._clock)
        self._keeper.activity = lambda: self._instance.activity
        self._hands = Hands(self._instance)
        self._fencing = Fencing(self._clock, self._hands, self._timings)
        self._driver = Driver(store, self._hands, self._keeper, self._timings, self._clock)
        self._prober = Prober(
            store=store,
            instance=self._instance,
            hands=self._hands,
            keeper=self._keeper,
            fencing=self._fencing,
            clock=self._clock,
            profile=self._timings,
        )
        self._beats = Beats(config, self._keeper, self._clock, self._timings)
        self._relay = Relay(config, self._clock)
        self._session = Session(config, self._keeper, self._beats, self._clock, self._timings)
        self._guard = GuardLink.from_environment(self._report_to_guard, self._clock)
        self._measure_due = asyncio.Event()
        self._busy_until = self._clock.now()
        self._calm = Calm()
        self._handed_over: Instant | None = None
        self._deaths_count = 0
        self._wire()

    def _wire(self) -> None:
        self._keeper.listen(self._facts_changed)
        self._keeper.on_promoted = self._measure_soon
        self._beats.on_grant = self._granted
        self._beats.on_leader = self._session.leader_known
        self._session.on_assignment = self._driver.order
        self._session.on_profile = self._told_profile
        self._session.on_peers = self._told_peers
        self._keeper.link_trouble = lambda: self._session.trouble
        self._fencing.on_change = self._driver.on_rule_stored = self._guard.tell
        self._fencing.on_fenced = self._driver.wake
        self._hands.on_shut = self._fencing.shut
        self._prober.on_opened = self._measure_soon
        self._guard.on_word = self._guard_said

    async def run(self) -> None:
        """Until SIGTERM; PostgreSQL is left as it is."""
        async with self._instance:
            await self._renew_if_lost()
            self._keeper.measured(await self._instance.measure())
            self._beats.measured()
            word = self._guard.first_word()
            if word is not None:
                self._guard_said(word)
            if self._handed_over is not None and self._instance.postmaster_alive:
                self._fencing.adopt(self._handed_over)  # whether PostgreSQL answers or not
            self._adopt_open_primary(self._hands.generation)
            gc.collect()
            gc.freeze()  # what was made at start stays: a later collection would take 20 ms, maybe of a failover
            try:
                async with asyncio.TaskGroup() as group:
                    for work in (
                        self._stop_on_signal(),
                        self._guarded(),
                        self._driver.run(),
                        self._driver.consider_orders(),
                        self._prober.run(),
                        self._fencing.run(),
                        self._beats.run(),
                        self._relay.run(),
                        self._session.run(),
                        self._measure_for_ever(),
                        self._see_deaths(),
                        self._mark_flushed(),
                        self._keep_room(),
                    ):
                        group.create_task(work)
                    if self._config.metrics_port:
                        http = HttpServer(
                            self._config.metrics_address,
                            self._config.metrics_port,
                            self._keeper.facts,
                            self._counts,
                        )
                        group.create_task(http.run())
            except* _Stopped:
                log.info("agent.stopped", postgres="left running")

    async def _renew_if_lost(self) -> None:
        try:
            sight = await self._hands.perform(Look())
        except StepFailed as failure:
            log.warning("directory.not_seen", why=str(failure))
            return
        assert isinstance(sight, Sight)
        why = why_renewed(self._store.current, sight)
        if why:
            state = renewed(self._store.current, IncarnationId(new_incarnation()))
            await self._store.save(state)
            self._keeper.state_changed(state)
            log.error("incarnation.renewed", why=why, incarnation=state.incarnation)

    # What must go on

    async def _measure_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._calm.left_s(self._clock.now()))
            self._measure_due.clear()
            generation = self._hands.generation
            before = self._deaths_count, self._store.current.promotion
            seen = await self._instance.measure()
            if before != (self._deaths_count, self._store.current.promotion):
                continue  # what was said of it meanwhile is newer
            self._keeper.measured(seen)
            self._beats.measured()
            self._adopt_open_primary(generation)
            busy = self._clock.now() < self._busy_until
            profile = self._profile
            role_ms = (
                profile.beat_primary_every_ms if self._keeper.is_primary else profile.beat_standby_every_ms
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(min(MEASURE_BUSY_S, role_ms / 1000) if busy else role_ms / 1000):
                    await self._measure_due.wait()
            await asyncio.sleep(
                0.005
            )  # what happens at once is measured at once, but not more often than this

    async def _see_deaths(self) -> None:
        while True:
            death = await self._instance.wait_death()
            served = rule_served(self._store.current) if self._keeper.is_primary else None
            self._calm.died(self._clock.now(), ordered=death.ordered, served=served)
            self._keeper.died(death.free_mib)  # beats and reports are sent by this, before all else
            self._deaths_count += 1
            log.warning("postmaster.died", pid=death.pid, ordered=death.ordered)
            epoch = self._store.current.obeyed.epoch
            asyncio.get_running_loop().call_later(LOOK_AFTER_DEATH_S, self._look_around, epoch)

    def _look_around(self, epoch: int) -> None:
        if self._store.current.obeyed.epoch == epoch:  # else the first order of the newer one has looked
            self._driver.wake()
        self._measure_soon()

    async def _keep_room(self) -> None:
        while True:
            await asyncio.sleep(ROOM_EVERY_S)
            self._store.in_background(self._store.room.keep)

    async def _mark_flushed(self) -> None:
        """R1: what a primary reported as flushed must be known when it seals, also after a restart."""
        while True:
            await asyncio.sleep(MARK_EVERY_S)
            state, flushed_lsn = self._store.current, self._keeper.seen.flushed_lsn
            if not self._keeper.is_primary or rule_served(state) is None or not self._keeper.seen.answered:
                continue
            mark = state.flushed_mark
            if mark is None or mark.epoch != state.serving_epoch or mark.flushed_lsn < flushed_lsn:
                try:
                    mark = FlushedMark(state.serving_epoch, flushed_lsn)
                    await self._driver.remember({"flushed_mark": mark}, is_a_promise=False)
                except StepFailed as failure:
                    log.error("flushed_mark.not_stored", why=str(failure))

    async def _guarded(self) -> None:
        await self._guard.run()
        log.error("guard.lost", next="this process becomes the guard and starts a new agent")
        become_guard(guard_command(self._config.file), self._report_to_guard())

    async def _stop_on_signal(self) -> None:
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        await told.wait()
        raise _Stopped

    # Who tells whom

    def _facts_changed(self, urgency: Urgency) -> None:
        if urgency is Urgency.BEATEN:
            self._beats.send_now()
            self._prober.facts_changed()
        now = self._clock.now()
        if now >= self._busy_until:
            asyncio.get_running_loop().call_later(MEASURE_BUSY_S, self._measure_soon)
        self._busy_until = after_ms(now, BUSY_FOR_MS)

    def _granted(self, epoch: int, sent_at: Instant, lease_ms: int) -> None:
        """Reason (a): for the epoch that is served, and only while it is open: (a) opens nothing."""
        state = self._store.current
        if self._fencing.is_open and epoch == state.serving_epoch and rule_served(state) is not None:
            self._fencing.extend(begun_at=sent_at, lease_ms=lease_ms)

    def _told_profile(self, profile: Profile) -> None:
        if profile != self._profile:
            self._profile = profile
            self._store.in_background(lambda: profile_file.save(self._config.state_directory, profile))
            log.info("profile.changed", profile=profile.name)

    def _told_peers(self, addresses: Sequence[str]) -> None:
        self._relay.told_peers(addresses)
        self._beats.told_peers(addresses)

    def _guard_said(self, word: Word) -> None:
        if word.rest:
            log.info("agent.resting", why="the guard is about to stop PostgreSQL")
            self._driver.rest()
        if word.deadline_us is not None:
            offered = Instant(word.deadline_us)
            self._handed_over = offered
            if self._fencing.is_open:
                lease_ms = self._profile.lease_ms
                self._fencing.extend(begun_at=Instant(offered - lease_ms * MS_US), lease_ms=lease_ms)

    def _adopt_open_primary(self, generation: int) -> None:
        """An agent that finds an open primary goes on under the guard's deadline, or under a first one of its
        own (then only the bound on stale reads is lost)."""
        seen = self._keeper.seen
        if self._fencing.is_open or generation != self._hands.generation:
            return
        if not (seen.open and self._keeper.is_primary and self._instance.postmaster_alive):
            return
        self._fencing.adopt(self._handed_over or after_ms(self._clock.now(), self._profile.lease_ms))

    def _report_to_guard(self) -> Report:
        state, config = self._store.current, self._config.postgres
        rule = rule_served(state)
        counts = rule is not None and rule.kind is not RuleKind.ASYNC
        return Report(
            data_directory=str(config.data_directory),
            deadline_us=self._fencing.deadline_at,
            program=str((config.bin_directory / "postgres").resolve()),
            rule=rule.synchronous_standby_names(state.serving_epoch)
            if counts and rule is not None and self._fencing.is_open
            else None,
            lease_us=self._profile.lease_ms * MS_US,
            margin_us=self._profile.guard_margin_ms * MS_US,
            psql=(
                str(config.bin_directory / "psql"),
                "-h",
                str(config.socket_directory),
                "-p",
                str(config.port),
                "-U",
                config.superuser,
                "-d",
                "postgres",
            ),
        )

    def _measure_soon(self) -> None:
        self._measure_due.set()

    def _timings(self) -> Profile:
        return self._profile

    def _counts(self) -> dict[str, int]:
        return {
            **{f"beat_{kind}": count for kind, count in self._beats.counts.items()},
            **{f"relay_{kind}": count for kind, count in self._relay.counts.items()},
            "session_opened": self._session.opened_count,
            "order_refused": self._driver.refused_count,
            "primary_fenced": self._fencing.fenced_count,
            "postmaster_died": self._deaths_count,
        }


class _Stopped(Exception):
    """Ends the task group, and never leaves `run`."""


def instance_config(config: AgentConfig, *, untested_version: bool) -> InstanceConfig:
    postgres = config.postgres
    return InstanceConfig(
        cluster=config.cluster,
        member=config.member,
        bin_directory=postgres.bin_directory,
        data_directory=postgres.data_directory,
        state_directory=config.state_directory,
        socket_directory=postgres.socket_directory,
        listen_addresses=postgres.listen_addresses,
        port=postgres.port,
        superuser=postgres.superuser,
        replication_user=postgres.replication_user,
        replication_password_file=postgres.replication_password_file,
        probe_user=postgres.probe_user,
        probe_password_file=postgres.probe_password_file,
        canary_user=postgres.canary_user,
        canary_password_file=postgres.canary_password_file,
        hba=postgres.hba,
        settings=postgres.settings,
        untested_version=untested_version,
    )
