"""Where a test ends this process: `PRIMACY_FAILPOINT`, off by default.

`POINT:TAG` or `POINT:TAG:N`, N counting from 1:

    save:N                   after the N-th save of any cluster
    after_save:TAG[:N]       after the N-th save with this tag, before anybody is told
    before_dispatch:TAG[:N]  before the assignments of the N-th saved version with this tag leave
    after_dispatch:TAG[:N]   once they have been handed to the agents' streams

TAG is a phase (`INITIALISING`, `STABLE`, `SEALING`, `PROMOTING`), `RULES2` (a rule change was begun: two
rules in force) or `RULES1` (it was finished). The process ends without a word to anybody, as by SIGKILL.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Final

from common.errors import BadConfig
from orchestrator.core.record import Phase, Record

VARIABLE: Final = "PRIMACY_FAILPOINT"
EXIT_CODE: Final = 86
POINTS: Final = ("save", "after_save", "before_dispatch", "after_dispatch")
TAGS: Final = frozenset({*Phase, "RULES2", "RULES1"})


def tags(record: Record, before: Record | None) -> frozenset[str]:
    """What happened with this save."""
    found = {record.phase.value}
    rules_before = 1 if before is None or before.epoch != record.epoch else len(before.rules)
    if len(record.rules) != rules_before:
        found.add(f"RULES{len(record.rules)}")
    return frozenset(found)


def _end_process() -> None:
    os._exit(EXIT_CODE)


class Failpoints:
    def __init__(self, text: str = "", end: Callable[[], None] = _end_process) -> None:
        """Raise BadConfig for a text that names no point."""
        self._end = end
        self._seen: Counter[str] = Counter()
        self._point, self._tag, self._count = _parse(text)

    @property
    def watches_dispatch(self) -> bool:
        return self._point.endswith("_dispatch")

    def saved(self, found: frozenset[str]) -> None:
        if self._point == "save":
            self._reached(self._tag)
        self._at("after_save", found)

    def before_dispatch(self, found: frozenset[str]) -> None:
        self._at("before_dispatch", found)

    def after_dispatch(self, found: frozenset[str]) -> None:
        self._at("after_dispatch", found)

    def _at(self, point: str, found: frozenset[str]) -> None:
        if self._point == point and self._tag in found:
            self._reached(self._tag)

    def _reached(self, tag: str) -> None:
        self._seen[tag] += 1
        if self._seen[tag] == self._count:
            self._end()


def _parse(text: str) -> tuple[str, str, int]:
    if not text:
        return "", "", 0
    point, _, rest = text.partition(":")
    tag, _, number = rest.partition(":")
    if point == "save":
        tag, number = "", rest
    count = int(number) if number.isdigit() else (0 if number else 1)
    if point not in POINTS or count < 1 or (point != "save" and tag not in TAGS):
        points = ", ".join(f"{each}:TAG[:N]" for each in POINTS[1:])
        raise BadConfig(
            [f"{VARIABLE}={text!r}: use save:N, {points}; TAG is one of {', '.join(sorted(TAGS))}"]
        )
    return point, tag, count
