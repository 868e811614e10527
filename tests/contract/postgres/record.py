"""What `make test-majors` found last, as it is kept beside the scripts, and the page that is made of it.

Pure, but for reading the file. Rule of admission: what is said of a major, from what was recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.contract.postgres.experiment import Experiment, Fact

RECORD = Path("tests/contract/postgres/recorded.json")
PAGE = Path("docs/majors.md")

_HEAD = """\
# The majors of PostgreSQL

Written by `make test-majors ARGS=--write`, from what it found on {date}; `make test` compares this page and the
expectations of the scripts with that record. Each row is a script (`tests/contract/postgres`) that repeats an
experiment by its labels (`docs/protocol.md`, `tests/model`). The same script runs on the simulator's model, which is
a model of {oldest}, and on real servers; what is compared is what can be observed, not times. *same*: all its facts are
those of the model. *different*: what differs, and what the code does about it, stands below.
"""
_ELSEWHERE = """\
## Where else the code asks for the major

| majors | what | why |
| --- | --- | --- |
| 15 | `promote_trigger_file` is written empty | a promotion is the agent's alone; the setting was removed in 16 |
| 17, 18 | `sync_replication_slots` is off while nobody is followed; a seal ends a slotsync worker too | V9: it asks upstream |
| 18 | `idle_replication_slot_timeout` is written as 0 | V15: it would invalidate the slot of a standby that is down |
| all | minors below 15.13, 16.9, 17.5 are refused | V13: right after a start they may acknowledge commits that no standby has |

Not compared, because the model has none of it: followers of a standby (E19), archives (E11, F6, F7), the slotsync
worker and logical slots (V9, N), a torn or damaged end (V6, V7; `tests/adapters/postgres/test_sealing.py`), what
`pg_stat_replication` does not show (E2 D).
"""


@dataclass(frozen=True, slots=True)
class OnOneMajor:
    version: str
    source: str
    """The system's, or a package."""
    facts: Mapping[str, Mapping[str, Fact]]
    """By the script's name."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """Scripts that came to no end, with what was said."""


@dataclass(frozen=True, slots=True)
class Record:
    date: str
    majors: Mapping[int, OnOneMajor]


def as_json(record: Record) -> str:
    majors = {
        str(major): {"version": one.version, "source": one.source, "facts": one.facts}
        for major, one in record.majors.items()
    }
    return json.dumps({"date": record.date, "majors": majors}, indent=1, default=dict) + "\n"


def read(text: str) -> Record:
    raw = json.loads(text)
    majors = {
        int(major): OnOneMajor(
            one["version"],
            one["source"],
            {name: {k: _fact(v) for k, v in facts.items()} for name, facts in one["facts"].items()},
        )
        for major, one in raw["majors"].items()
    }
    return Record(raw["date"], majors)


def verdict(experiment: Experiment, major: int, one: OnOneMajor) -> str:
    """`same`, `different` as it is written there, or what is wrong."""
    found = one.facts.get(experiment.name)
    if found is None:
        return f"NOT RUN: {one.broken.get(experiment.name, 'not recorded')}"
    if found != dict(experiment.expected(major)):
        return f"UNEXPECTED: {_against(experiment.expected(major), found)}"
    return "same" if found == dict(experiment.facts) else "different"


def page(record: Record, experiments: Sequence[Experiment]) -> str:
    majors = sorted(record.majors)
    lines = [_HEAD.format(date=record.date, oldest=majors[0]), *_table(record, experiments, majors), ""]
    lines += ["## What differs", ""]
    for experiment in experiments:
        for difference in experiment.differences:
            changed = "; ".join(
                f"*{what}*: {experiment.facts[what]} → {fact}" for what, fact in difference.facts.items()
            )
            lines += [
                f"**{experiment.sentence}** ({', '.join(experiment.labels)}), from {difference.since} on. {changed}.",
                difference.what_we_do,
                "",
            ]
    return "\n".join(lines) + "\n" + _ELSEWHERE


def _table(record: Record, experiments: Sequence[Experiment], majors: Sequence[int]) -> Iterator[str]:
    columns = [f"{record.majors[major].version}" for major in majors]
    yield "| script | labels | " + " | ".join(columns) + " |"
    yield "| --- | --- |" + " --- |" * len(columns)
    for experiment in experiments:
        cells = [verdict(experiment, major, record.majors[major]) for major in majors]
        yield f"| {experiment.sentence} | {', '.join(experiment.labels)} | {' | '.join(cells)} |"
    yield ""
    yield (
        "From: " + "; ".join(f"{one.version}, {one.source}" for _, one in sorted(record.majors.items())) + "."
    )


def _against(expected: Mapping[str, Fact], found: Mapping[str, Fact]) -> str:
    return "; ".join(
        f"{what}: {found.get(what)} instead of {fact}"
        for what, fact in expected.items()
        if found.get(what) != fact
    )


def _fact(value: bool | int | str | list[str] | list[int]) -> Fact:
    return tuple(value) if isinstance(value, list) else value  # type: ignore[return-value]
