"""Timeline history files: reading, planting, placing and removing them (protocol.md, R9, R11; V1 to V5).

Blocking; called on a lane. PostgreSQL counts up from its own timeline while a history file exists and stops
at the first one missing, so contiguity is everything: sets are written downwards and removed upwards, and a
set cut short in between is seen by nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agents.core.steps import HistoryFile
from agents.postgres.config import RunAs
from agents.postgres.files import read_text, sync_directory, write_synced
from common.assignment import HistoryStep
from common.lsn import Lsn

PLACEHOLDER = "primacy placeholder"
_FAR_PAST = Lsn(0x1000000)
"""A switch point in the future survives a restart, but the promotion then writes nonsense (F5c)."""
_FILE = re.compile(r"^([0-9A-F]{8})\.history$")
_LINE = re.compile(r"^\s*(\d+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)", re.MULTILINE)
_TEMPORARY = "xlogtemp.primacy"
"""PostgreSQL itself removes a leftover of this form."""


@dataclass(frozen=True, slots=True)
class History:
    steps: tuple[HistoryStep, ...]
    placeholder: bool


def history_path(wal_directory: Path, timeline: int) -> Path:
    return wal_directory / f"{timeline:08X}.history"


def read_history(wal_directory: Path, timeline: int) -> History | None:
    text = read_text(history_path(wal_directory, timeline))
    if text is None:
        return None
    steps = tuple(HistoryStep(int(tli), Lsn.parse(lsn)) for tli, lsn in _LINE.findall(text))
    return History(steps, PLACEHOLDER in text)


def real_history(wal_directory: Path, timeline: int) -> tuple[HistoryStep, ...]:
    """Empty for timeline 1, and where the file is missing."""
    found = read_history(wal_directory, timeline)
    return () if found is None or found.placeholder else found.steps


def list_histories(wal_directory: Path, above: int) -> tuple[HistoryFile, ...]:
    files = []
    for timeline in _timelines(wal_directory):
        found = read_history(wal_directory, timeline) if timeline > above else None
        if found is not None:
            forks_off_lsn = found.steps[-1].switch_lsn if found.steps else None
            files.append(HistoryFile(timeline, found.placeholder, forks_off_lsn))
    return tuple(files)


def plant(wal_directory: Path, parent: int, timelines: Iterable[int], owner: RunAs | None) -> None:
    """In the order given: highest first."""
    for timeline in timelines:
        _write(wal_directory, timeline, _placeholder_text(parent), owner)
    sync_directory(wal_directory)


def place(wal_directory: Path, timeline: int, history: tuple[HistoryStep, ...], owner: RunAs | None) -> None:
    """What a follower of `timeline` needs in its pg_wal before it attaches; what is there stays.

    Their content is durable, their names are not: after a power cut they may be missing again, as the settings with the
    upstream may, and the receiver fetches what it misses from there."""
    ancestors = {step.timeline for step in history}
    for wanted in range(timeline, 1, -1):
        there = read_history(wal_directory, wanted)
        real = wanted == timeline or wanted in ancestors
        if there is not None and not (real and there.placeholder):
            continue
        below = [step for step in history if step.timeline < wanted]
        text = _text(below) if real else _placeholder_text(max((s.timeline for s in below), default=1))
        _write(wal_directory, wanted, text, owner)


def remove(wal_directory: Path, timelines: Iterable[int]) -> None:
    """In the order given."""
    for timeline in timelines:
        history_path(wal_directory, timeline).unlink(missing_ok=True)
        sync_directory(wal_directory)


def trailing_placeholders(wal_directory: Path, timeline: int) -> tuple[int, ...]:
    """Those that would make a start of a standby on `timeline` fail (V2), lowest first."""
    run: list[int] = []
    above = timeline + 1
    while (found := read_history(wal_directory, above)) is not None:
        run = [*run, above] if found.placeholder else []
        above += 1
    return tuple(run)


def _timelines(wal_directory: Path) -> list[int]:
    names = (_FILE.match(entry.name) for entry in wal_directory.iterdir())
    return sorted(int(name[1], 16) for name in names if name is not None)


def _text(steps: Iterable[HistoryStep]) -> str:
    return "".join(f"{step.timeline}\t{step.switch_lsn}\tplaced by primacy\n" for step in steps)


def _placeholder_text(parent: int) -> str:
    return f"{parent}\t{_FAR_PAST}\t{PLACEHOLDER}\n"


def _write(wal_directory: Path, timeline: int, text: str, owner: RunAs | None) -> None:
    path = history_path(wal_directory, timeline)
    write_synced(path, text.encode(), owner, temporary=wal_directory / _TEMPORARY)
