"""`--rewrite` refreshes what the stories expect; the diff is read line by line."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write what happened into the stories")
