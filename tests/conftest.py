"""What all tests share: a test that could not run is told at the end, and fails in CI.

No fixtures of the domain here: those stand beside the tests that use them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest
from _pytest.terminal import TerminalReporter

from tests.needs import GET_IT_BY

# Servers are started as another user, which takes a plain fork; gRPC's handlers for that would write into
# the child. Set before anything imports gRPC. (A daemon never changes its user: its children take vfork.)
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_runtest_logstart(nodeid: str) -> None:
    """Which test is running, for the case that it hangs and `tests.run` has to end it."""
    if told := os.environ.get("PRIMACY_TEST_REPORT"):
        Path(f"{told}.now").write_text(nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _strict_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _strict_in_ci((yield))


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Counts and NOT RUN lines, for the table that `tests.run` prints over all stages."""
    told = os.environ.get("PRIMACY_TEST_REPORT")
    if not told:
        return
    stats = terminalreporter.stats
    skipped = stats.get("skipped", [])
    counts = {
        "passed": len(stats.get("passed", [])) + len(stats.get("xfailed", [])),
        "failed": len(stats.get("failed", [])) + len(stats.get("error", [])) + len(stats.get("xpassed", [])),
        "skipped": len(skipped),
        "not_run": [[report.nodeid, _reason(report)] for report in skipped if GET_IT_BY in _reason(report)],
    }
    Path(told).write_text(json.dumps(counts))


def _strict_in_ci(report: Report) -> Report:
    """Where everything must run, missing something is a failure."""
    if os.environ.get("CI") == "true" and report.skipped and GET_IT_BY in _reason(report):
        report.longrepr = f"NOT RUN: {_reason(report)} (CI=true: everything must run)"
        report.outcome = "failed"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    told = report.longrepr
    return str(told[2] if isinstance(told, tuple) else told).removeprefix("Skipped: ")
