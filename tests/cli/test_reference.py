"""The documents of the command line are what the commands say."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.reference import page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_what_the_help_says() -> None:
    written = (DOCS / "cli.md").read_text()
    assert written == page(), "run: python -m orchestrator.cli.reference > docs/cli.md"
