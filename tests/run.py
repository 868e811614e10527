"""`make test`: the stages one after the other, each with its share of the time, and one table at the end.

A stage stops at its first wrong command; the other stages still run. What could not run on this
machine is listed; the last line is 'N passed, N failed'.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Everything below tests/ that belongs to no other stage is a unit test, so no folder is forgotten.
OTHER_STAGES = ("simulator", "adapters", "integration")
NEVER = ("model", "broken", "chaos", "soak")
# The same in every run, beside the fresh ones of the simulator.
FIXED_SEEDS = 40
# A stage may take this many times its share before it is taken to hang.
PATIENCE = 4
PYTHON = sys.executable


@dataclass(frozen=True, slots=True)
class Command:
    """A check counts as one test; pytest tells its own numbers."""

    words: tuple[str, ...]
    is_pytest: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    share_s: int
    commands: tuple[Command, ...]


@dataclass(slots=True)
class Result:
    name: str
    share_s: int
    took_s: float = 0.0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    not_run: list[tuple[str, str]] = field(default_factory=list)
    remark: str = ""


def stages(pytest_arguments: Sequence[str]) -> Iterator[Stage]:
    python = (PYTHON, "-m")
    yield Stage(
        "lint",
        30,
        (
            Command(("ruff", "check", "--quiet", ".")),
            Command(("ruff", "format", "--quiet", "--check", ".")),
            Command(("lint-imports", "--no-logo", "--no-cache")),
            Command((*python, "deploy.setup.stubs", "--check")),
        ),
    )
    yield Stage("types", 60, (Command((*python, "mypy")),))
    yield Stage("unit", 120, _pytest(unit_paths(), pytest_arguments))
    simulator = _pytest(["tests/simulator"], pytest_arguments)
    if (ROOT / "tests/simulator/__main__.py").exists():
        simulator += (
            Command((*python, "tests.simulator", "--seed", "1", "--seeds", str(FIXED_SEEDS))),
            Command((*python, "tests.simulator", "--seconds", "120")),
        )
    yield Stage("simulator", 210, simulator)
    yield Stage("adapters", 210, _pytest(["tests/adapters"], pytest_arguments))
    yield Stage("integration", 420, _pytest(["tests/integration"], pytest_arguments))


def unit_paths() -> list[str]:
    folder = ROOT / "tests"
    out = {*OTHER_STAGES, *NEVER, "__pycache__"}
    return sorted(
        path.relative_to(ROOT).as_posix()
        for path in folder.iterdir()
        if (path.is_dir() and path.name not in out and _has_tests(path)) or path.match("test_*.py")
    )


def run_stage(stage: Stage) -> Result:
    result = Result(stage.name, stage.share_s)
    if not stage.commands:
        result.remark = "no tests yet"
        return result
    began = time.monotonic()
    for command in stage.commands:
        left_s = stage.share_s * PATIENCE - (time.monotonic() - began)
        before = result.failed
        _run(command, result, within_s=max(left_s, 1.0))
        if result.failed > before:
            if not result.remark:
                result.remark = "failed: " + " ".join(Path(word).name for word in command.words[:4])
            break
    result.took_s = time.monotonic() - began
    return result


def _run(command: Command, result: Result, *, within_s: float) -> None:
    with tempfile.TemporaryDirectory(prefix="primacy-test-") as folder:
        report = Path(folder) / "report.json"
        child = subprocess.Popen(
            command.words,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"PRIMACY_TEST_REPORT": str(report)},
        )
        try:
            code = child.wait(within_s)
        except subprocess.TimeoutExpired:
            code = None
            result.remark = f"cut off after {within_s:.0f} s: {' '.join(command.words[1:4])}"
            _end(child)
        except BaseException:
            _end(child)
            raise
        if not command.is_pytest:
            result.passed += code == 0
            result.failed += code != 0
            return
        told = json.loads(report.read_text()) if report.exists() else {}
        result.passed += told.get("passed", 0)
        result.failed += told.get("failed", 0)
        result.skipped += told.get("skipped", 0)
        result.not_run += [(str(test), str(why)) for test, why in told.get("not_run", [])]
        # 5: there was nothing to run. Any other failure that pytest could not count still counts.
        if code not in (0, 5) and not told.get("failed"):
            result.failed += 1
            now = Path(f"{report}.now")
            during = f", during {now.read_text()}" if now.exists() else ""
            result.remark = (result.remark or f"pytest ended with {code}") + during


def _end(child: subprocess.Popen[bytes]) -> None:
    """First a signal that lets fixtures stop their servers, then the whole session."""
    child.send_signal(signal.SIGINT)
    try:
        child.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def not_run_lines(results: Sequence[Result]) -> Iterator[str]:
    """One line for every (file, need), with the number of its tests."""
    tests: dict[tuple[str, str], int] = defaultdict(int)
    for result in results:
        for test, why in result.not_run:
            tests[test.split("::")[0], why[max(why.find("needs"), 0) :]] += 1
    for (file, need), count in sorted(tests.items()):
        yield f"NOT RUN: {count} test{'s'[: count != 1]} of {file} {need}"


def show(results: Sequence[Result], setup_and_all_s: float) -> None:
    print(f"\n{'stage':<12} {'passed':>7} {'failed':>7} {'skipped':>8} {'time':>8} {'share':>7}")
    for result in results:
        remark = "over its share  " * (result.took_s > result.share_s) + result.remark
        print(
            f"{result.name:<12} {result.passed:>7} {result.failed:>7} {result.skipped:>8} "
            f"{result.took_s:>6.1f} s {result.share_s:>5} s  {remark}".rstrip()
        )
    print(f"{'all':<12} {'':>24} {setup_and_all_s:>6.1f} s {sum(r.share_s for r in results):>5} s\n")
    for line in not_run_lines(results):
        print(line)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.run", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="a stage; may be given several times")
    parser.add_argument("pytest", nargs="*", help="handed on to pytest (after --)")
    told = parser.parse_args(arguments)
    chosen = [stage for stage in stages(told.pytest) if not told.only or stage.name in told.only]
    if not chosen:
        parser.error(f"no such stage; there are: {', '.join(stage.name for stage in stages(()))}")
    began = time.monotonic()
    results: list[Result] = []
    for stage in chosen:
        print(f"\n== {stage.name}", flush=True)
        results.append(run_stage(stage))
    show(results, time.monotonic() - began)
    failed = sum(result.failed for result in results)
    skipped = sum(result.skipped for result in results)
    passed = sum(result.passed for result in results)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


def _pytest(paths: Sequence[str], arguments: Sequence[str]) -> tuple[Command, ...]:
    there = [path for path in paths if _has_tests(ROOT / path) or (ROOT / path).is_file()]
    if not there:
        return ()
    cache = Path(os.environ.get("PRIMACY_HOME", tempfile.gettempdir())) / "cache" / "pytest"
    words = (PYTHON, "-m", "pytest", "--quiet", "-o", f"cache_dir={cache}", *arguments, *there)
    return (Command(words, is_pytest=True),)


def _has_tests(folder: Path) -> bool:
    return folder.is_dir() and any(folder.rglob("test_*.py"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
