"""`docs/reasons.md`, made from the core's sentences: `python -m orchestrator.cli.reasons_page > docs/reasons.md`.

A test compares the two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TypeVar

from orchestrator.core.sentences import REASONS, REFUSALS

Name = TypeVar("Name", bound=StrEnum)

INTRODUCTION = """\
# Reasons

Made by `python -m orchestrator.cli.reasons_page`; change the sentences in `orchestrator/core/sentences.py`.

Every decision has a reason, also the decision to do nothing. The names below are the same in logs, metrics, the
status (`primacy status`), the history, and the tests; beside the name stands what was measured, and the limit.
"""


def page() -> str:
    parts = [
        INTRODUCTION,
        "## Why something was decided, or not",
        "",
        *_table(REASONS),
        "",
        "## Why a member can't be the primary, or was not chosen",
        "",
        *_table(REFUSALS),
    ]
    return "\n".join(parts) + "\n"


def _table(sentences: Mapping[Name, str]) -> Iterator[str]:
    yield "| reason | meaning |"
    yield "| --- | --- |"
    for name, sentence in sorted(sentences.items()):
        yield f"| `{name}` | {sentence} |"


if __name__ == "__main__":
    sys.stdout.write(page())
