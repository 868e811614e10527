"""DNS is published until every authoritative server says it; what is lost or drifts is published again."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace

import pytest
from structlog.testing import capture_logs

from common.errors import NotDelivered
from orchestrator.core.events import NameOutcome, NamesAnswered
from orchestrator.core.names import (
    NameAnswer,
    NameVersion,
    Publication,
    Published,
    ServerAnswer,
    WantedNames,
)
from orchestrator.shell.publishing import Publishing
from tests.orchestrator.fakes import HandClock

WANTED = WantedNames("shop", "db.example.", 7, 40, ("127.0.9.1",), ())


@dataclass
class Server:
    """A NameService; `failing` calls of publish raise, `lagging` read-backs say the old."""

    failing: int = 0
    lagging: int = 0
    newer: NameVersion | None = None
    seen: WantedNames | None = None

    async def publish(self, wanted: WantedNames) -> Published:
        if self.failing:
            self.failing -= 1
            raise NotDelivered("no answer")
        if self.newer is not None:
            return Published(Publication.SUPERSEDED, self.newer)
        first, self.seen = self.seen is None, wanted
        return Published(Publication.PUBLISHED if first else Publication.ALREADY, wanted.version)

    async def read_back(self, cluster: str) -> tuple[ServerAnswer, ...]:
        if self.lagging or self.seen is None:
            self.lagging -= 1
            return (ServerAnswer("ns1", NameAnswer(), NameAnswer()),)
        text = (f'"{self.seen.version.text}"',)
        return (ServerAnswer("ns1", NameAnswer(self.seen.primary, text), NameAnswer((), text)),)


@dataclass
class Said:
    answers: deque[NamesAnswered] = field(default_factory=deque)

    @property
    def outcomes(self) -> list[NameOutcome]:
        return [answer.outcome for answer in self.answers]


async def published(*servers: Server, zone: str = "db.example.") -> Said:
    said = Said()
    publishing = Publishing({zone: list(servers)}, HandClock())
    async with asyncio.timeout(10):
        await publishing.publish(WANTED, said.answers.append)
    return said


async def test_a_name_is_confirmed_when_it_was_read_back() -> None:
    said = await published(Server())
    assert said.outcomes == [NameOutcome.PUBLISHED, NameOutcome.CONFIRMED]
    assert said.answers[-1].wanted == WANTED


@pytest.mark.covers("T58")
async def test_it_is_tried_again_until_every_server_says_it() -> None:
    said = await published(Server(failing=1), Server(lagging=1))
    assert said.outcomes[0] is NameOutcome.FAILED
    assert said.outcomes[-1] is NameOutcome.CONFIRMED
    assert any("ns1 says" in answer.text for answer in said.answers)


async def test_a_newer_epoch_ends_it_and_is_named() -> None:
    said = await published(Server(newer=NameVersion(8, 1)))
    assert [(answer.outcome, answer.epoch) for answer in said.answers] == [(NameOutcome.SUPERSEDED, 8)]


async def test_a_zone_that_nobody_publishes_is_said() -> None:
    said = Said()
    publishing = Publishing({"other.": [Server()]}, HandClock())
    task = asyncio.ensure_future(publishing.publish(WANTED, said.answers.append))
    async with asyncio.timeout(10):
        while not said.answers:
            await asyncio.sleep(0.001)
    task.cancel()
    assert "db.example" in said.answers[0].text


async def test_names_that_are_found_as_before_are_logged_once() -> None:
    publishing = Publishing({"db.example.": [Server()]}, HandClock())
    moved = replace(WANTED, epoch=8, primary=("127.0.9.2",))
    with capture_logs() as logged:
        for wanted in (WANTED, WANTED, replace(WANTED, revision=41), moved, moved):
            await publishing.publish(wanted, lambda _answer: None)
    assert [entry["event"] for entry in logged] == ["names.answered"] * 2
