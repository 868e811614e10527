"""Plant one fault in a scratch copy of the tree: a file names what is replaced by what, and why it matters.

Used by the simulator's planted faults and by `make test-broken`. A plant whose text is not found exactly
once is an error: the code moved on, and the plant must follow it.
"""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_COPIED = ("common", "agents", "orchestrator", "protos", "deploy", "tests")


@dataclass(frozen=True, slots=True)
class Edit:
    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Plant:
    name: str
    rule: str
    """The clause that is taken away, as in docs/protocol.md."""
    turns_red: str
    """The test, or empty: the simulator."""
    edits: tuple[Edit, ...]


class PlantDoesNotFit(ValueError):
    """The code that a plant replaces is not there, or is there more than once."""


def read(path: Path) -> Plant:
    raw = tomllib.loads(path.read_text())
    edits = tuple(Edit(edit["file"], edit["old"], edit["new"]) for edit in raw["edit"])
    return Plant(path.stem, raw["rule"], raw.get("turns_red", ""), edits)


def plants(folder: Path) -> tuple[Plant, ...]:
    return tuple(read(path) for path in sorted(folder.glob("*.toml")))


def fits(plant: Plant) -> None:
    """Raise PlantDoesNotFit, naming the edit, when the tree is not as the plant expects."""
    for edit in plant.edits:
        found = (ROOT / edit.file).read_text().count(edit.old)
        if found != 1:
            raise PlantDoesNotFit(f"{plant.name}: {edit.file} has {found} times: {edit.old!r}")


def planted_copy(plant: Plant, into: Path) -> Path:
    """A copy of the tree below `into` with the fault in it."""
    fits(plant)
    for name in _COPIED:
        shutil.copytree(ROOT / name, into / name, ignore=shutil.ignore_patterns("__pycache__", "model"))
    shutil.copy(ROOT / "pyproject.toml", into)
    for edit in plant.edits:
        path = into / edit.file
        path.write_text(path.read_text().replace(edit.old, edit.new))
    return into
