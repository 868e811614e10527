"""A console script whose extra is missing says which one to install.

Called first thing in an entry module's `main`, before what needs the libraries is imported:

    def main() -> int:
        require("cli", "typer", "rich")
        from orchestrator.cli.app import run
        return run()
"""

from __future__ import annotations

import importlib.util


def require(extra: str, *modules: str) -> None:
    """Raise SystemExit with one clear line when one of the modules is not installed."""
    missing = sorted(name for name in modules if not _is_there(name))
    if missing:
        raise SystemExit(f"{', '.join(missing)} is not installed here: install primacy[{extra}]")


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent of a dotted name is missing
        return False
