"""The leader's canaries: when they run, what they tell, and that nothing of the leader hangs on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from common.errors import NotDelivered
from common.ids import ClusterName
from common.timebase import before_ms
from orchestrator.core.effects import Story
from orchestrator.core.engine import Engine
from orchestrator.core.outages import CanaryOutage
from orchestrator.ports import CanaryEar, CanaryTarget
from orchestrator.shell import canaries as shell
from orchestrator.shell.canaries import CANARIES_MAX, Canaries, target_of
from orchestrator.shell.case import Case
from orchestrator.telemetry.metrics import Metrics
from tests.orchestrator.control_node import spec_of
from tests.orchestrator.fakes import SHOP, HandClock

WITHIN_S = 10.0


@dataclass
class ScriptedWriter:
    """Hands the ear to the test; fails as often as it is told."""

    running: dict[ClusterName, CanaryEar] = field(default_factory=dict)
    targets: list[CanaryTarget] = field(default_factory=list)
    fails: int = 0

    async def run(self, target: CanaryTarget, ear: CanaryEar) -> None:
        self.targets.append(target)
        if self.fails:
            self.fails -= 1
            raise NotDelivered("the writer broke")
        self.running[target.cluster] = ear
        try:
            await asyncio.Event().wait()
        finally:
            del self.running[target.cluster]


@dataclass
class Leader:
    clock: HandClock = field(default_factory=HandClock)
    metrics: Metrics = field(default_factory=Metrics)
    writer: ScriptedWriter = field(default_factory=ScriptedWriter)
    cases: dict[ClusterName, Case] = field(default_factory=dict)
    leads: bool = True
    measured: list[tuple[ClusterName, CanaryOutage]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.canaries = Canaries(
            clock=self.clock,
            cases=self.cases,
            leads=lambda: self.leads,
            writer=self.writer,
            measured=lambda cluster, outage: self.measured.append((cluster, outage)),
            metrics=self.metrics,
        )
        self.asks(SHOP)

    def asks(self, cluster: ClusterName, canary: bool = True, **changes: object) -> None:
        spec = replace(spec_of(), name=cluster, canary=canary, **changes)  # type: ignore[arg-type]
        self.cases[cluster] = Case(cluster, Engine(cluster), spec=spec)

    async def until(self, running: set[ClusterName]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while set(self.writer.running) != running:
                await asyncio.sleep(0.005)

    def acknowledged(self) -> None:
        self.writer.running[SHOP].acknowledged(self.clock.now(), before_ms(self.clock.now(), 3), 0)

    def tells(self, epoch: int, name: str) -> None:
        self.canaries.told(SHOP, Story(epoch, name, "as it is"))

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"cluster": SHOP, **labels})


@asynccontextmanager
async def leader() -> AsyncIterator[Leader]:
    made = Leader()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.canaries.run())
        yield made
        running.cancel()


async def test_a_canary_lives_as_long_as_the_term_and_the_wish() -> None:
    async with leader() as one:
        await one.until({SHOP})
        one.leads = False
        await one.until(set())
        one.leads = True
        await one.until({SHOP})
        one.asks(SHOP, canary=False)
        await one.until(set())
        assert one.canaries.line(SHOP) is None


async def test_it_goes_to_the_name_and_to_the_ports_of_the_members() -> None:
    spec = spec_of()
    target = target_of(spec)
    assert target.name == f"primary.{spec.name}.{spec.zone}"
    assert target.ports == {member.address: member.port for member in spec.members}
    async with leader() as one:
        await one.until({SHOP})
        members = tuple(replace(member, port=6_000 + n) for n, member in enumerate(spec.members))
        one.asks(SHOP, members=members)
        async with asyncio.timeout(WITHIN_S):
            while len(one.writer.targets) < 2:
                await asyncio.sleep(0.005)
        assert sorted(one.writer.targets[-1].ports.values()) == [6_000, 6_001, 6_002]


async def test_an_outage_is_told_for_its_incident_once_it_is_over() -> None:
    async with leader() as one:
        await one.until({SHOP})
        one.acknowledged()
        one.clock.forward_ms(400)
        one.tells(7, "sealing")
        ear = one.writer.running[SHOP]
        for _ in range(40):
            one.clock.forward_ms(20)
            ear.failed("connect", "failed", one.clock.now(), "nobody is let in", 0)
        assert one.measured == []
        one.clock.forward_ms(20)
        one.acknowledged()
        (cluster, outage) = one.measured[0]
        assert (cluster, outage.epoch, outage.outage_ms, outage.at_least) == (SHOP, 7, 1_220, False)
        assert one.sample("primacy_canary_longest_gap_seconds") == 1.22
        assert one.sample("primacy_canary_attempts_total", what="connect", outcome="failed") == 40


async def test_a_leader_that_took_over_says_at_least() -> None:
    async with leader() as one:
        await one.until({SHOP})
        one.tells(7, "promoted")
        one.clock.forward_ms(900)
        one.acknowledged()
        assert [(outage.outage_ms, outage.at_least) for _, outage in one.measured] == [(900, True)]


async def test_a_story_that_is_told_before_the_canary_began_is_not_missed() -> None:
    one = Leader()
    one.tells(7, "promoted")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(one.canaries.run())
        await one.until({SHOP})
        one.clock.forward_ms(900)
        one.acknowledged()
        running.cancel()
    assert [outage.epoch for _, outage in one.measured] == [7]


async def test_a_writer_that_breaks_is_begun_anew_and_its_trouble_is_shown(
    monkeypatch: object,
) -> None:
    shell_pause, shell.AGAIN_AFTER_S = shell.AGAIN_AFTER_S, 0.01
    try:
        one = Leader()
        one.writer.fails = 2
        async with asyncio.TaskGroup() as group:
            running = group.create_task(one.canaries.run())
            await one.until({SHOP})
            line = one.canaries.line(SHOP)
            assert line is not None
            assert (line.state, line.text) == ("waiting", "the writer broke")
            running.cancel()
    finally:
        shell.AGAIN_AFTER_S = shell_pause


async def test_a_leader_runs_a_bounded_number_of_canaries_and_says_so() -> None:
    async with leader() as one:
        names = [ClusterName(f"c{number:02}") for number in range(CANARIES_MAX)]
        for name in names:
            one.asks(name)
        await one.until(set(names))
        line = one.canaries.line(SHOP)
        assert line is not None
        assert (line.state, line.text) == ("not run", f"a leader runs {CANARIES_MAX} canaries at the most")


async def test_the_status_says_how_it_is() -> None:
    async with leader() as one:
        await one.until({SHOP})
        one.acknowledged()
        one.clock.forward_ms(1_000)
        line = one.canaries.line(SHOP)
        assert line is not None
        assert (line.state, line.acknowledged_age_ms, line.longest_gap_ms) == ("writing", 1_000, None)
        one.writer.running[SHOP].failed("write", "unknown", one.clock.now(), "no answer within 300 ms", 0)
        one.clock.forward_ms(1)
        line = one.canaries.line(SHOP)
        assert line is not None
        assert (line.state, line.text) == ("waiting", "no answer within 300 ms")
