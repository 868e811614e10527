"""`primacy policies`: the table of `common/resilience.py`, for people."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from common.resilience import POLICIES
from orchestrator.cli.screen import Screen
from orchestrator.cli.words import duration


def print_policies(screen: Screen, *, as_json: bool) -> None:
    if as_json:
        screen.json(json.dumps([asdict(policy) for policy in POLICIES.values()]))
        return
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for header in ("CALL", "DEADLINE", "ATTEMPTS", "BREAKER", "WHAT IT IS"):
        table.add_column(
            header, justify="right" if header == "DEADLINE" else "left", no_wrap=header != "WHAT IT IS"
        )
    for policy in POLICIES.values():
        breaker = f"{policy.breaker_failures} failures" if policy.breaker_failures else "-"
        table.add_row(
            policy.name, duration(policy.timeout_ms), str(policy.attempts), breaker, Text(policy.meaning)
        )
    screen.say(table)
