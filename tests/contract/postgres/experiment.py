"""An experiment: a script against the port, the labels of what it repeats, and the facts that it must find.

Rule of admission: what a script, both sides and the report over the majors share.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from tests.contract.postgres.port import Server

Fact: TypeAlias = bool | int | str | tuple[str, ...] | tuple[int, ...]
Facts: TypeAlias = Mapping[str, Fact]
Script: TypeAlias = Callable[..., Awaitable[dict[str, Fact]]]


@dataclass(frozen=True, slots=True)
class Difference:
    """From this major on some facts are others, and what the code does about it."""

    since: int
    facts: Facts
    what_we_do: str


@dataclass(frozen=True, slots=True)
class Experiment:
    name: str
    labels: tuple[str, ...]
    """As in docs/protocol.md and tests/model/*.md."""
    members: str
    """A letter each; the script takes as many servers, stopped, from one template."""
    script: Script
    facts: Facts
    """What the model shows, and PostgreSQL from the oldest supported major on."""
    differences: tuple[Difference, ...] = ()

    @property
    def sentence(self) -> str:
        return self.name.replace("_", " ")

    def expected(self, major: int) -> Facts:
        facts = dict(self.facts)
        for difference in self.differences:
            if major >= difference.since:
                facts |= difference.facts
        return MappingProxyType(facts)

    async def run(self, servers: Mapping[str, Server]) -> dict[str, Fact]:
        return await self.script(*(servers[name] for name in self.members))


@dataclass(slots=True)
class Experiments:
    """Those of one file, in its order."""

    all: list[Experiment] = field(default_factory=list)

    def add(
        self, *labels: str, members: str, facts: Facts, differences: tuple[Difference, ...] = ()
    ) -> Callable[[Script], Script]:
        def named(script: Script) -> Script:
            name = script.__name__
            frozen = MappingProxyType(dict(facts))
            self.all.append(Experiment(name, labels, members, script, frozen, differences))
            return script

        return named
