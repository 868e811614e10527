"""`docs/cli.md`, made from the commands' own help: `python -m orchestrator.cli.reference > docs/cli.md`.

A test compares the two, so that the page never says what the command doesn't.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer.main

from orchestrator.cli.app import SETTINGS, app
from orchestrator.cli.exit_codes import MEANINGS

INTRODUCTION = """\
# `primacy` on the command line

Made by `python -m orchestrator.cli.reference`; change the help texts, not this page.

The command talks to the control nodes and to nothing else, over gRPC, with a client certificate
(`operator:<name>`). It tries all control nodes in their order, and goes to the one that leads. If one dies in
the middle of a switchover, a failover or a watch, it goes on with the next one, and says so.

Answers go to stdout, everything about the way there to stderr. With `--json` stdout holds JSON and nothing
else: one document, or one line for each step or status where things come one after another.
"""


def page() -> str:
    root: Any = typer.main.get_command(app)
    parts = [INTRODUCTION, _exit_codes(), _described(root, "primacy", None)]
    parts += [_described(command, path, context) for command, path, context in _commands(root)]
    return "\n".join(parts)


def _exit_codes() -> str:
    lines = ["## Exit codes", "", "| code | meaning |", "| --- | --- |"]
    lines += [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(lines) + "\n"


def _commands(root: Any) -> Iterator[tuple[Any, str, Any]]:
    """Every command that does something, groups resolved."""
    top = _context(root, "primacy", None)
    for name, command in root.commands.items():
        path = f"primacy {name}"
        inner = getattr(command, "commands", None)
        if inner is None:
            yield command, path, top
            continue
        group = _context(command, name, top)
        for inner_name, inner_command in inner.items():
            yield inner_command, f"{path} {inner_name}", group


def _described(command: Any, path: str, parent: Any) -> str:
    """The help exactly as it is printed, but without the exit codes, which have a table of their own."""
    context = _context(command, path.rsplit(" ", 1)[-1], parent)
    text = command.get_help(context)
    text = text.split("  Exit codes:")[0].rstrip()
    return f"## `{path}`\n\n```text\n{text}\n```\n"


def _context(command: Any, name: str, parent: Any) -> Any:
    settings = {**SETTINGS, "terminal_width": 100}
    return command.context_class(command, info_name=name, parent=parent, **settings)


if __name__ == "__main__":
    sys.stdout.write(page())
