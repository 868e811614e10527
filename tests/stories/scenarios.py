"""`docs/scenarios.md`: every scenario and trap with the story or test that covers it.

    python -m tests.stories.scenarios --write

What covers what is declared at the story or test itself: `# covers: S13 T8` in its first line, or the marker
`covers` of pytest, whose arguments may also be rules of the protocol (R1 to R14). Here it is only collected, by
reading: nothing is imported, so that a test that can't run on a machine counts all the same. A fault of the chaos
catalogue says it by its `covers`, a fault of the simulator by such a comment in the line above it.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs/scenarios.md"
WRITE = "python -m tests.stories.scenarios --write"
_TAG = re.compile(r"# covers: ((?:\w+ ?)+)$")
_ABOVE = re.compile(r"^# covers: ((?:\w+ ?)+)\ndef (\w+)", re.MULTILINE)
_OF_THE_PROTOCOL = {f"R{number}" for number in range(1, 15)}
_HEAD = f"""\
# Scenarios and traps

Made by `{WRITE}`; a test compares.

What the test suites of Patroni, pg_auto_failover, stolon, repmgr, CloudNativePG and orchestrator look at (S), and
what goes wrong with PostgreSQL in high availability (T), by short titles of ours. The numbers are labels with gaps.
A name without a path is a story in `tests/stories`; its first lines say what Primacy does, and where it differs.
"""


@dataclass(frozen=True, slots=True)
class Item:
    id: str
    section: str
    title: str
    missing: str
    """What is not shown yet, and where it belongs."""
    not_ours: str
    """Why it does not apply to Primacy."""


def sections() -> Mapping[str, str]:
    titles: dict[str, str] = _listed()["sections"]
    return titles


def items() -> tuple[Item, ...]:
    return tuple(
        Item(key, told["in"], told["title"], told.get("missing", ""), told.get("not_ours", ""))
        for key, told in _listed().items()
        if key != "sections"
    )


def declared() -> Mapping[str, tuple[str, ...]]:
    """Who says to cover what: by the id of a scenario, a trap or a rule."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("*.story")):
        for covered in _tagged(path.read_text()):
            found[covered].append(path.stem)
    for path in sorted(TESTS.rglob("*.py")):
        name = path.relative_to(TESTS).as_posix()
        text = path.read_text()
        for covered in _tagged(text):
            found[covered].append(name)
        if "covers(" in text:
            for covered, test in _marked(ast.parse(text)):
                found[covered].append(f"{name}::{test}" if test else name)
        if "    covers=" in text:
            for covered, fault in _played(ast.parse(text)):
                found[covered].append(f"make chaos: {fault}")
        for covered, function in _commented(text):
            found[covered].append(f"{name}::{function}")
    return {covered: tuple(dict.fromkeys(by)) for covered, by in found.items()}


def mistakes() -> Iterator[str]:
    by = declared()
    known = {item.id for item in items()}
    for covered in sorted(set(by) - known - _OF_THE_PROTOCOL):
        yield f"{', '.join(by[covered])}: there is no {covered}"
    for item in items():
        if item.section not in sections():
            yield f"{item.id}: there is no section {item.section}"
        if item.not_ours and item.id in by:
            yield f"{item.id} does not apply, says scenarios.toml; {', '.join(by[item.id])} covers it"
        if not (item.id in by or item.missing or item.not_ours):
            yield f"{item.id} ({item.title}): cover it, or say in scenarios.toml what is missing"


def page() -> str:
    by = declared()
    parts = [_HEAD, *_summary(by)]
    for section, title in sections().items():
        heading = title if title.startswith("Traps") else f"{section}. {title}"
        parts += [f"\n## {heading}\n", "| | what happens | shown by |", "| --- | --- | --- |"]
        parts += [
            f"| {item.id} | {item.title} | {_shown(item, by.get(item.id, ()))} |"
            for item in items()
            if item.section == section
        ]
    return "\n".join(parts) + "\n"


def _summary(by: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for kind, letter in (("scenarios", "S"), ("traps", "T")):
        of_kind = [item for item in items() if item.id.startswith(letter)]
        covered = [item for item in of_kind if item.id in by]
        partly = sum(bool(item.missing) for item in covered)
        not_ours = sum(bool(item.not_ours) for item in of_kind)
        left = len(of_kind) - len(covered) - not_ours
        yield (
            f"Of {len(of_kind)} {kind} {len(covered)} are covered, {partly} of these in part; "
            f"not covered yet: {left}; not applicable: {not_ours}.\n"
        )


def _shown(item: Item, by: Sequence[str]) -> str:
    parts = [", ".join(f"`{name}`" for name in by)] if by else []
    if item.not_ours:
        parts.append(f"does not apply: {item.not_ours}")
    if item.missing:
        parts.append(f"{'still missing' if by else 'not covered yet'}: {item.missing}")
    return "; ".join(parts)


def _listed() -> dict[str, dict[str, str]]:
    return tomllib.loads((TESTS / "stories/scenarios.toml").read_text())


def _tagged(text: str) -> list[str]:
    found = _TAG.match(text.partition("\n")[0])
    return found[1].split() if found else []


def _marked(module: ast.Module) -> Iterator[tuple[str, str]]:
    """(what is covered, the test's name; empty for a whole module)."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                yield from ((covered, node.name) for covered in _arguments(decorator))
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            for call in ast.walk(node.value):
                yield from ((covered, "") for covered in _arguments(call))


def _played(module: ast.Module) -> Iterator[tuple[str, str]]:
    """(what is covered, the fault's name) of the chaos catalogue."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Scenario":
            for keyword in node.keywords:
                if keyword.arg == "covers":
                    fault = ast.literal_eval(node.args[0])
                    yield from ((covered, fault) for covered in ast.literal_eval(keyword.value))


def _commented(text: str) -> Iterator[tuple[str, str]]:
    """(what is covered, the function's name): `# covers: T38` in the line above a fault of the simulator."""
    for covered, function in _ABOVE.findall(text):
        yield from ((each, function) for each in covered.split())


def _arguments(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.covers":
        yield from (str(ast.literal_eval(argument)) for argument in node.args)


def main(arguments: Sequence[str]) -> int:
    if list(arguments) == ["--write"]:
        PAGE.write_text(page())
        return 0
    print(page(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
