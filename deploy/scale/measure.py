"""What one control node costs and how soon it acts, with a fleet of one size.

The beats of all members come by UDP, from before the control node starts. When it knows them all, the clusters that are
to fail over are handed to whole agents with their streams; the others have no stream, so what a stream costs is measured
apart (`streams` in the figures).
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console

from common.clock import BootClock
from common.profile import PROFILES
from deploy.scale.crowd import POSTGRES_PORT, PROFILE, Group, crowd
from deploy.scale.doors import Doors
from deploy.scale.player import Company, Player, company_of
from deploy.scale.stage import Stage, StageFailed, busy_s

READY_WITHIN_S: Final = 240.0
REPLACED_WITHIN_S: Final = 60.0
CALM_S: Final = 10.0
CONNECTS_EVERY_S: Final = 0.01
LOOKS_EVERY_S: Final = 2.0
_SAMPLE = re.compile(
    rb'^(primacy_(?:beats|inbox_lost)_total)\{(?:outcome|how)="(\w+)"\} ([0-9.e+]+)', re.MULTILINE
)
_LEADING = re.compile(rb"^primacy_leading 1", re.MULTILINE)
_TERMS = re.compile(rb'^primacy_leadership_changes_total\{what="gained"\} ([0-9.]+)', re.MULTILINE)
_EPOCH = re.compile(rb'^primacy_epoch\{cluster="([^"]+)"\} ([0-9.]+)', re.MULTILINE)


@dataclass(slots=True)
class Asked:
    members: int
    singles: int
    """Failovers one after the other, each of another cluster."""
    lost_at_once: int
    seconds: float
    """Of the measurement of cost."""
    seed: int


@dataclass(slots=True)
class Found:
    members: int
    clusters: int
    streams: int
    load_average: float = 0.0
    """Before it began."""
    others_cpu_percent: float = 0.0
    """What ran beside it while the cost was measured: of all cores together, one core is 100."""
    seconds: float = 0.0
    """Of the measurement of cost."""
    ready_s: float = 0.0
    cpu_percent: float = 0.0
    """Of one core, over the measured time."""
    flock_cpu_percent: float = 0.0
    etcd_cpu_percent: float = 0.0
    rss_mib: float = 0.0
    beats: dict[str, float] = field(default_factory=dict)
    udp_drops: int = 0
    flock: dict[str, Any] = field(default_factory=dict)
    scrape_ms: float = 0.0
    singles_ms: list[float] = field(default_factory=list)
    lost: int = 0
    replaced_ms: list[float] = field(default_factory=list)
    false_alarms: int = 0
    terms: int = 0
    """How often the control node won the election; more than once: it had lost it."""


class Measurement:
    def __init__(self, stage: Stage, asked: Asked, console: Console) -> None:
        self._stage, self._asked, self._console = stage, asked, console
        self._clock = BootClock()
        self._doors = Doors()

    async def run(self) -> Found:
        asked, stage = self._asked, self._stage
        groups = crowd(asked.members)
        played = groups[: min(len(groups), asked.singles + asked.lost_at_once)]
        found = Found(len(groups) * 3, len(groups), len(played) * 3, load_average=os.getloadavg()[0])
        await stage.start_etcd()
        revisions = await stage.store(groups)
        server = await self._doors.serve(POSTGRES_PORT)
        companies = [
            company_of(group, stage.agent_config, self._clock, revisions[group.name]) for group in played
        ]
        try:
            # As after any restart of a control node: the members were there before it.
            stage.start_flock(_beating(groups, revisions), asked.seed)
            await stage.flock_counts()
            began = time.monotonic()
            stage.start_control_node()
            await self._until_it_listens()
            await self._measure(found, companies, began)
        finally:
            server.close()
            stage.stop()
        return found

    async def _measure(self, found: Found, companies: Sequence[Company], began: float) -> None:
        players = [player for company in companies for player in company.players.values()]
        await self._until_calm(found)
        found.ready_s = time.monotonic() - began
        self._console.print(f"  {found.members} members: all known after {found.ready_s:.0f} s")
        async with asyncio.TaskGroup() as living:
            try:
                if companies:
                    self._stage.flock_leaves(_first_not_played(companies))
                for player in players:
                    player.start(living)
                    await asyncio.sleep(CONNECTS_EVERY_S)
                await self._until_connected(players)
                await asyncio.sleep(CALM_S)
                await self._cost(found)
                await self._fail_over_singly(found, companies[: self._asked.singles])
                await self._lose_at_once(found, companies[self._asked.singles :])
                await self._false_alarms(found, companies)
            finally:
                for player in players:
                    player.fall_silent()

    # ---- until everything is calm ----

    async def _until_it_listens(self) -> None:
        ends_at = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < ends_at:
            self._stage.usage("control")
            with suppress(OSError):
                await self._metrics("primacy_leading")
                return
            await asyncio.sleep(0.2)
        raise StageFailed(f"the control node did not listen within {READY_WITHIN_S:.0f} s")

    async def _until_calm(self, found: Found) -> None:
        """It leads, has read every record, and has its own connection to every primary."""
        ends_at = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < ends_at:
            await asyncio.sleep(LOOKS_EVERY_S)
            self._stage.usage("control")
            if self._doors.opened_count < found.clusters:
                continue
            metrics = await self._metrics("primacy_leading", "primacy_epoch")
            if _LEADING.search(metrics) and len(_EPOCH.findall(metrics)) == found.clusters:
                return
        raise StageFailed(
            f"not calm within {READY_WITHIN_S:.0f} s: {self._doors.opened_count} SQL connections for "
            f"{found.clusters} clusters"
        )

    async def _until_connected(self, players: Sequence[Player]) -> None:
        ends_at = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < ends_at:
            if all(player.is_connected and player.ordered for player in players):
                return
            await asyncio.sleep(0.1)
        connected = sum(player.is_connected for player in players)
        raise StageFailed(f"{connected} of {len(players)} streams within {READY_WITHIN_S:.0f} s")

    # ---- what it costs ----

    async def _cost(self, found: Found) -> None:
        stage = self._stage
        before_metrics = _samples(await self._metrics())
        await asyncio.sleep(2.0)
        await stage.flock_counts()
        drops = stage.udp_drops()
        names = ("control", "flock", "etcd")
        began, all_before = time.monotonic(), busy_s()
        before = {name: stage.usage(name) for name in names}
        own = time.process_time()
        await asyncio.sleep(self._asked.seconds)
        took_s, after = time.monotonic() - began, {name: stage.usage(name) for name in names}
        share = {name: 100 * (after[name].cpu_s - before[name].cpu_s) / took_s for name in names}
        ours = sum(share.values()) + 100 * (time.process_time() - own) / took_s
        found.others_cpu_percent = max(0.0, 100 * (busy_s() - all_before) / took_s - ours)
        found.seconds = took_s
        found.cpu_percent = share["control"]
        found.flock_cpu_percent, found.etcd_cpu_percent = share["flock"], share["etcd"]
        found.rss_mib = after["control"].rss_mib
        found.flock = await stage.flock_counts()
        found.udp_drops = stage.udp_drops() - drops
        scraped_at = time.monotonic()
        after_metrics = _samples(await self._metrics())
        found.scrape_ms = (time.monotonic() - scraped_at) * 1000
        found.beats = {name: after_metrics[name] - before_metrics.get(name, 0.0) for name in after_metrics}
        self._console.print(
            f"  {found.cpu_percent:.0f} % of a core, {found.rss_mib:.0f} MiB, round trip of a beat "
            f"{found.flock['round_trip_ms']} ms, {found.beats}, the kernel dropped {found.udp_drops}; beside it "
            f"{found.others_cpu_percent:.0f} % of a core"
        )

    # ---- how soon it acts ----

    async def _fail_over_singly(self, found: Found, companies: Sequence[Company]) -> None:
        for company in companies:
            primary = company.primary
            assert primary is not None
            began_at = self._clock.now()
            primary.lose_postmaster()
            await self._until_replaced([company], began_at)
            found.singles_ms.append(_ordered_at(company, 2, began_at))
            await asyncio.sleep(1.0)
        if found.singles_ms:
            said = ", ".join(f"{ms:.0f}" for ms in found.singles_ms)
            self._console.print(f"  failovers alone: {said} ms")

    async def _lose_at_once(self, found: Found, companies: Sequence[Company]) -> None:
        if not companies:
            return
        began_at = self._clock.now()
        for company in companies:
            primary = company.primary
            assert primary is not None
            self._doors.silent.add(primary.member.address)
            primary.fall_silent()
        found.lost = len(companies)
        await self._until_replaced(companies, began_at)
        found.replaced_ms = sorted(_ordered_at(company, 2, began_at) for company in companies)
        self._console.print(
            f"  {found.lost} lost at once: replaced after {found.replaced_ms[0]:.0f} to "
            f"{found.replaced_ms[-1]:.0f} ms (patient: silent after "
            f"{PROFILES[PROFILE].suspect_floor_ms} ms)"
        )

    async def _until_replaced(self, companies: Sequence[Company], began_at: int) -> None:
        ends_at = time.monotonic() + REPLACED_WITHIN_S
        while time.monotonic() < ends_at:
            if all(_is_replaced(company) for company in companies):
                return
            await asyncio.sleep(0.02)
        late = [company.group.name for company in companies if not _is_replaced(company)]
        raise StageFailed(f"not replaced within {REPLACED_WITHIN_S:.0f} s: {', '.join(late)}")

    async def _false_alarms(self, found: Found, companies: Sequence[Company]) -> None:
        meant = {company.group.name.encode() for company in companies}
        metrics = await self._metrics()
        epochs = _EPOCH.findall(metrics)
        found.false_alarms = sum(float(epoch) > 1 for cluster, epoch in epochs if cluster not in meant)
        found.terms = sum(int(float(count)) for count in _TERMS.findall(metrics))
        self._console.print(f"  {found.false_alarms} false alarms, the election was won {found.terms} times")

    async def _metrics(self, *names: str) -> bytes:
        """All of them, or these: a scrape of everything is a good part of a second's work in a large fleet."""
        only = "&".join(f"name[]={name}" for name in names)
        return await self._stage.get(f"/metrics?{only}" if only else "/metrics")


def _beating(groups: Sequence[Group], revisions: dict[str, int]) -> list[tuple[str, str, str, bool, int]]:
    return [
        (member.cluster, member.name, member.incarnation, member.is_first_primary, revisions[member.cluster])
        for group in groups
        for member in group.members
    ]


def _first_not_played(companies: Sequence[Company]) -> str:
    """Clusters are numbered, and the first ones are played."""
    return f"{companies[-1].group.name}~"


def _is_replaced(company: Company) -> bool:
    """The new primary was told to serve, and who else lives to follow it."""
    kinds = [
        {order.kind for order in player.ordered if order.epoch == 2} for player in company.players.values()
    ]
    return any("serve" in kind for kind in kinds) and any("follow" in kind for kind in kinds)


def _ordered_at(company: Company, epoch: int, began_at: int) -> float:
    """Milliseconds until the order to serve and the first one to follow had come."""
    first: dict[str, int] = {}
    for player in company.players.values():
        for order in player.ordered:
            if order.epoch == epoch and order.kind in ("serve", "follow"):
                first[order.kind] = min(first.get(order.kind, order.at), order.at)
    return (max(first.values()) - began_at) / 1000


def _samples(metrics: bytes) -> dict[str, float]:
    return {
        f"{name.decode().removeprefix('primacy_').removesuffix('_total')} {outcome.decode()}": float(value)
        for name, outcome, value in _SAMPLE.findall(metrics)
    }
