"""`--rewrite` refreshes what the stories expect; the diff is read line by line.

`--other-dice N` tells them with another seed: what is told must be the same, or the story tells too much.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write what happened into the stories")
    parser.addoption("--other-dice", metavar="SEED", help="tell the stories with this seed")
