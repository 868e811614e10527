"""What of the house style a program can check; each message says what to do instead.

Import directions are import-linter's (pyproject.toml), formatting and common slips are ruff's.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from deploy.setup.code_copy import files_of

ROOT = Path(__file__).resolve().parent.parent
DAEMONS = ("agents", "common", "orchestrator")
LONGEST_FILE_LINES = 400
# The supervisors: whatever they did not foresee is logged, and ends the process (or the task's host).
SUPERVISORS = {
    "orchestrator/app.py",
    "orchestrator/main.py",
    "orchestrator/shell/supervisor.py",
    "agents/app.py",
    "agents/main.py",
    "agents/guard/main.py",
}
# The guard stands alone, so it has a clock of its own.
CLOCKS = {"common/clock.py", "agents/guard/boottime.py"}
Rule: TypeAlias = Callable[[str, ast.Module], Iterator[tuple[int, str]]]


@functools.cache
def all_files() -> tuple[str, ...]:
    return tuple(path.as_posix() for path in files_of(ROOT))


def tracked(*suffixes: str) -> list[str]:
    """Paths of our own files: not the models, which keep the form in which they were run."""
    return [
        path
        for path in all_files()
        if not path.startswith(("tests/model/", ".bin/")) and (not suffixes or Path(path).suffix in suffixes)
    ]


def modules(*packages: str) -> list[str]:
    return [path for path in tracked(".py") if path.split("/")[0] in packages and "_pb2" not in path]


def is_core(path: str) -> bool:
    return "/core/" in path


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def only_the_clock_imports_time(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    if path in CLOCKS:
        return
    for line, name in imports(tree):
        if name.split(".")[0] == "time":
            yield line, "import time: take a common.clock.Clock as an argument (or `now: Instant` in a core)"


def cores_draw_no_lots(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for line, name in imports(tree):
        if is_core(path) and name in {"random", "secrets", "uuid"}:
            yield line, f"import {name}: ids and jitter come from the shell, as arguments"


def cores_do_not_wait(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if is_core(path) and isinstance(node, ast.AsyncFunctionDef):
            yield node.lineno, f"async def {node.name}: async stops at the adapters; return what to wait for"
    for line, name in calls(tree):
        if name == "time.sleep" and path not in CLOCKS:
            yield line, "time.sleep: wait for an event with a deadline"
        if is_core(path) and name.endswith("sleep"):
            yield line, f"{name}: a core never waits; it is called again"


def tasks_belong_to_a_group(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """A future that its maker keeps, to wait for it with a deadline, has an owner; a dropped one has none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            dropped = ast.unparse(node.value.func)
            if dropped.endswith("ensure_future"):
                yield node.lineno, f"{dropped}: keep the future, and wait for it"
    for line, name in calls(tree):
        if name in {"asyncio.create_task", "create_task", "loop.create_task"}:
            yield line, f"{name}: use a TaskGroup, which hears of the task's end and ends it with its owner"


def nobody_catches_everything(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    if path in SUPERVISORS:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and _raises_nothing(node):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            for kind in kinds:
                if kind is None or ast.unparse(kind) in {"Exception", "BaseException"}:
                    yield (
                        node.lineno,
                        "catches everything: name the errors; only a supervisor may (SUPERVISORS)",
                    )


def _raises_nothing(handler: ast.ExceptHandler) -> bool:
    """A handler that cleans up and raises again swallows nothing."""
    return not any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))


def errors_are_never_the_root(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            name = ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)
            if name in {"FailoverError", "Exception"}:
                yield node.lineno, f"raise {name}: raise one of its kinds, by what the caller must do"


def no_mocks(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for line, name in imports(tree):
        if name.startswith("unittest") or name.split(".")[0] in {"mock", "pytest_mock"}:
            yield line, f"import {name}: where a test needs a mock, a port is missing"


def every_module_says_what_lives_in_it(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    if tree.body and ast.get_docstring(tree) is None:
        yield 1, "no docstring: say what lives here and by which rule something is admitted"


CODE_RULES: tuple[Rule, ...] = (
    only_the_clock_imports_time,
    cores_draw_no_lots,
    cores_do_not_wait,
    tasks_belong_to_a_group,
    nobody_catches_everything,
    errors_are_never_the_root,
    every_module_says_what_lives_in_it,
)


def none_of(breaches: list[str]) -> None:
    if breaches:
        pytest.fail("\n".join(breaches), pytrace=False)


@functools.cache
def parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def broken_by(rule: Rule, paths: list[str]) -> list[str]:
    return [f"{path}:{line}: {message}" for path in paths for line, message in rule(path, parsed(path))]


@pytest.mark.parametrize("rule", CODE_RULES, ids=lambda rule: rule.__name__)
def test_the_daemons_keep_the_rule(rule: Rule) -> None:
    none_of(broken_by(rule, modules(*DAEMONS)))


def test_there_are_no_mocks() -> None:
    none_of(broken_by(no_mocks, modules(*DAEMONS, "deploy", "tests")))


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import time", only_the_clock_imports_time),
        ("from random import choice", cores_draw_no_lots),
        ("async def decide(): ...", cores_do_not_wait),
        ("import asyncio\nasyncio.create_task(f())", tasks_belong_to_a_group),
        ("import asyncio\nasyncio.ensure_future(f())", tasks_belong_to_a_group),
        ("try: f()\nexcept Exception: pass", nobody_catches_everything),
        ("try: f()\nexcept (ValueError, BaseException): pass", nobody_catches_everything),
        ("raise FailoverError('no')", errors_are_never_the_root),
        ("from unittest import mock", no_mocks),
    ],
)
def test_a_planted_breach_is_found(code: str, rule: Rule) -> None:
    assert list(rule("orchestrator/core/planted.py", ast.parse(code)))


def test_no_file_is_longer_than_a_person_reads() -> None:
    lengths = {
        path: len((ROOT / path).read_text().splitlines()) for path in modules(*DAEMONS, "deploy", "tests")
    }
    too_long = {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE_LINES}
    assert not too_long, f"one idea a file, {LONGEST_FILE_LINES} lines at the most"


def test_modules_are_named_after_what_they_hold() -> None:
    vague = re.compile(r"(^|_)(utils?|helpers?|managers?|misc|common_)(_|$)")
    assert not [path for path in modules(*DAEMONS, "deploy", "tests") if vague.search(Path(path).stem)]


def test_nothing_is_left_for_later() -> None:
    later = re.compile(r"\b(FIXME|TODO|XXX|HACK)\b")
    none_of(_lines_with(later, tracked(".py", ".proto", ".sh", ".toml")))


def test_assertions_are_never_switched_off() -> None:
    """`python -O` would remove the invariants that end a process before it acts wrongly."""
    off = re.compile(r"PYTHONOPTIMIZE|python3?[\w.]* +-O+\b|\"-O+\"")
    none_of(_lines_with(off, tracked()))
    assert __debug__


def test_nothing_names_a_registry_or_a_folder_of_somebody_s_machine() -> None:
    here = re.compile(
        r"https?://[^\s\"')]*(pypi|pythonhosted|registry\.npm|deb\.debian|mirror|artifactory|nexus)"
        r"|/root/|(?<![\w.])/work/|--index-url|--extra-index-url|--find-links",
        re.IGNORECASE,
    )
    none_of(_lines_with(here, [*tracked(), *_model_files()]))


def test_locks_hold_hashes_and_no_address() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        text = lock.read_text()
        assert "http" not in text
        assert "file:" not in text
        for pinned in re.findall(r"^[A-Za-z0-9].*(?:\n .*)*", text, flags=re.MULTILINE):
            assert "--hash=sha256:" in pinned, f"{lock.name}: {pinned.splitlines()[0]}"


def test_locks_agree_on_every_version() -> None:
    versions: dict[str, set[str]] = {}
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        for name, version in re.findall(
            r"^([A-Za-z0-9._-]+)==([^\s;]+)", lock.read_text(), flags=re.MULTILINE
        ):
            if name != "soupsieve":  # two on purpose: one for 3.11.0 to 3.11.4
                versions.setdefault(name, set()).add(version)
    assert not {name: found for name, found in versions.items() if len(found) > 1}


def test_console_scripts_exist() -> None:
    scripts: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, entry in scripts.items():
        module, function = entry.split(":")
        spec = importlib.util.find_spec(module)
        assert spec is not None, f"{name}: there is no module {module}"
        assert spec.origin is not None
        defined = {
            node.name
            for node in ast.parse(Path(spec.origin).read_text()).body
            if isinstance(node, ast.FunctionDef)
        }
        assert function in defined, f"{name}: {module} has no function {function}"


def test_example_configurations_are_toml() -> None:
    """That the daemons accept them is tested beside their configuration."""
    examples = [path for path in tracked(".toml") if path.startswith("deploy/examples/")]
    assert examples
    for path in examples:
        tomllib.loads((ROOT / path).read_text())


def _model_files() -> list[str]:
    return [path for path in all_files() if path.startswith("tests/model/")]


def _lines_with(pattern: re.Pattern[str], paths: list[str]) -> list[str]:
    found = []
    for path in paths:
        if (ROOT / path).samefile(__file__):  # it must name what it looks for
            continue
        try:
            text = (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if pattern.search(line)
        ]
    return found
