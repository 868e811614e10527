"""DNS of every zone: published until it is confirmed; the core asks again now and then (drift).

A zone may have several name services (two providers): a name is confirmed when all of them say it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog

from common.clock import Clock
from common.errors import NotDelivered, OutcomeUnknown, Refused
from common.resilience import POLICIES, Caller
from orchestrator.core.events import NameOutcome, NamesAnswered
from orchestrator.core.names import Publication, Published, WantedNames, disagreements, normal_name
from orchestrator.ports import NameService

log = structlog.get_logger()

PAUSE_MS_MIN = POLICIES["dns.publish"].first_wait_ms
PAUSE_MS_MAX = POLICIES["dns.publish"].longest_wait_ms

AT_ONCE = 4
"""Publications under way. A new term asks for those of every cluster: all at once they would keep the loop from
everything else, the election's heartbeats too."""

Say = Callable[[NamesAnswered], None]


class Publishing:
    def __init__(
        self, services: Mapping[str, Sequence[NameService]], clock: Clock, caller: Caller | None = None
    ) -> None:
        """By zone."""
        self._caller = caller or Caller(clock)
        self._services = {normal_name(zone): tuple(these) for zone, these in services.items()}
        self._clock = clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self._logged: dict[str, tuple[object, ...]] = {}

    async def publish(self, wanted: WantedNames, say: Say) -> None:
        """Until confirmed or superseded, or cancelled by a newer request."""
        pause_ms = PAUSE_MS_MIN
        while True:
            async with self._places:
                answer = await self._attempt(wanted, lambda published: say(self._answer(wanted, published)))
            say(answer)
            self._log(wanted, answer)
            if answer.outcome in (NameOutcome.CONFIRMED, NameOutcome.SUPERSEDED):
                return
            await asyncio.sleep(pause_ms / 1000)
            pause_ms = min(PAUSE_MS_MAX, 2 * pause_ms)

    def _log(self, wanted: WantedNames, answer: NamesAnswered) -> None:
        """What was found before, for the same names, is no news: every cluster's names are looked at again and again."""
        words = (wanted.epoch, wanted.primary, wanted.replicas, answer.outcome, answer.text)
        if self._logged.get(wanted.cluster) == words:
            return
        self._logged[wanted.cluster] = words
        log.info("names.answered", cluster=wanted.cluster, outcome=answer.outcome.value, text=answer.text)

    async def _attempt(
        self, wanted: WantedNames, published_so_far: Callable[[Published], None]
    ) -> NamesAnswered:
        services = self._services.get(normal_name(wanted.zone), ())
        if not services:
            return self._failed(wanted, f"no [[dns]] section is for the zone {wanted.zone}")
        try:
            for number, service in enumerate(services):
                target = f"{wanted.zone}#{number}"
                published = await self._caller.call(
                    "dns.publish", partial(service.publish, wanted), target=target
                )
                if published.outcome is Publication.SUPERSEDED:
                    return self._answer(wanted, published)
                if published.outcome is Publication.PUBLISHED:
                    published_so_far(published)
            answers = [
                answer
                for service in services
                for answer in await self._caller.call(
                    "dns.read_back", partial(service.read_back, wanted.cluster), target=wanted.zone
                )
            ]
        except (NotDelivered, OutcomeUnknown, Refused) as error:
            return self._failed(wanted, str(error))
        wrong = disagreements(answers, wanted)
        if wrong:
            return self._failed(wanted, "; ".join(wrong))
        return NamesAnswered(
            self._clock.now(), NameOutcome.CONFIRMED, wanted.epoch, wanted.revision, wanted=wanted
        )

    def _answer(self, wanted: WantedNames, published: Published) -> NamesAnswered:
        superseded = published.outcome is Publication.SUPERSEDED
        return NamesAnswered(
            self._clock.now(),
            NameOutcome.SUPERSEDED if superseded else NameOutcome.PUBLISHED,
            published.version.epoch,
            published.version.revision,
            wanted=wanted,
        )

    def _failed(self, wanted: WantedNames, text: str) -> NamesAnswered:
        return NamesAnswered(
            self._clock.now(), NameOutcome.FAILED, wanted.epoch, wanted.revision, text, wanted
        )
