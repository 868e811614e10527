"""`docs/counterexamples.md`: each counterexample of the models, and the small plan of the simulator that is like it.

    python -m tests.stories.counterexamples --write

Which is which stands in counterexamples.toml, by hand. That such a plan is red with its rule taken away is shown by
`python -m tests.mutants.plans`; that it is clean with all rules in place by tests/simulator/test_plans.py.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.catalogue import mutants
from tests.mutants.plans import FOLDER, every_plant, red_with

_TESTS = Path(__file__).parents[1]
_RESULTS = _TESTS / "model" / "results"
PAGE = _TESTS.parent / "docs" / "counterexamples.md"
WRITE = "python -m tests.stories.counterexamples --write"
_HEAD = f"""\
# The counterexamples of the models, run on the code

Made by `{WRITE}`; a test compares.

`tests/model` has the explicit-state models of the protocol; each of their counterexamples was found with one rule
taken away. Below, by file of `tests/model/results`: what was violated, the mutant of ours that takes the same rule
away from the code, and the plans of the simulator (`tests/simulator/plans`) and stories that are clean, and red with
the mutant (`python -m tests.mutants.plans` and `python -m tests.mutants` show it).
"""


@dataclass(frozen=True, slots=True)
class Counterexample:
    file: str
    name: str
    violated: str
    red: str = ""
    """The mutant, or the planted fault, that takes the same rule away."""
    none: str = ""
    """Why there is nothing to run."""
    story: str = ""
    """The story that turns red with it; else there is a plan, or the mutant names a story itself."""


def found() -> Iterator[tuple[str, str, str]]:
    """(file, name, what was violated), as the results have them."""
    for path in sorted(_RESULTS.glob("*.txt")):
        name = ""
        for line in path.read_text().splitlines():
            heading = re.match(r"(?:###|==) (.+?)(?: ::.*)?$", line)
            if heading is not None:
                name = heading[1]
            elif line.startswith("VIOLATION"):
                yield path.stem, name, line.removeprefix("VIOLATION ")


def counterexamples() -> tuple[Counterexample, ...]:
    """Of two with one name in one file the first is taken: they are the same rule."""
    told = _told()
    known: dict[tuple[str, str], Counterexample] = {}
    for file, name, violated in found():
        known.setdefault(
            (file, name), Counterexample(file, name, violated, **told.get(file, {}).get(name, {}))
        )
    return tuple(known.values())


def turns_red(one: Counterexample) -> tuple[str, ...]:
    """The plans and stories that turn red with its mutant."""
    plans = tuple(path.name for path in sorted(FOLDER.glob("*.plan")) if red_with(path) == one.red)
    named = (one.story, *(mutant.story for mutant in mutants() if mutant.name == one.red))
    return (*plans, *dict.fromkeys(f"{story}.story" for story in named if story))


def mistakes() -> Iterator[str]:
    known = {(one.file, one.name) for one in counterexamples()}
    for file, names in _told().items():
        for name in names:
            if (file, name) not in known:
                yield f"{file} has no counterexample {name}"
    there = every_plant()
    for one in counterexamples():
        if bool(one.red) == bool(one.none):
            yield f"{one.file}/{one.name}: say with which mutant, or why with none"
        elif one.red and one.red not in there:
            yield f"{one.file}/{one.name}: there is no {one.red}"
        elif one.story and not (_TESTS / "stories" / f"{one.story}.story").exists():
            yield f"{one.file}/{one.name}: there is no story {one.story}"
        elif one.red and not turns_red(one):
            yield f"{one.file}/{one.name}: python -m tests.mutants.plans --make {one.red}"


def page() -> str:
    parts = [_HEAD]
    all_of_them = counterexamples()
    shown = sum(bool(one.red) for one in all_of_them)
    parts.append(
        f"Of {len(all_of_them)} counterexamples {shown} have a plan or a story; the others say why there is none."
    )
    for file in dict.fromkeys(one.file for one in all_of_them):
        parts.append(
            f"\n## {file}.txt\n\n| | violated | taken away by | turns red, or why nothing does |\n| --- | --- | --- | --- |"
        )
        for one in all_of_them:
            if one.file == file:
                plans = ", ".join(f"`{plan}`" for plan in turns_red(one)) if one.red else one.none
                red = f"`{one.red}`" if one.red else ""
                parts.append(f"| {one.name} | {one.violated} | {red} | {plans} |")
    return "\n".join(parts) + "\n"


def _told() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text())


def main(arguments: Sequence[str]) -> int:
    if list(arguments) == ["--write"]:
        PAGE.write_text(page())
        return 0
    print(page(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
