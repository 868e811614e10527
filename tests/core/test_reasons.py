"""Every reason and refusal has a sentence for people, and a story or a test of the core that brings it about."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.cli.reasons_page import page
from orchestrator.core.reasons import Reason, Refusal
from orchestrator.core.sentences import REASONS, REFUSALS

ROOT = Path(__file__).parents[2]


def test_every_reason_has_a_sentence() -> None:
    assert set(REASONS) == set(Reason)
    assert set(REFUSALS) == set(Refusal)
    for sentence in (*REASONS.values(), *REFUSALS.values()):
        assert sentence[0].isupper(), sentence
        assert sentence.endswith("."), sentence


def test_the_page_of_reasons_is_what_the_sentences_say() -> None:
    written = (ROOT / "docs/reasons.md").read_text()
    assert written == page(), "run: python -m orchestrator.cli.reasons_page > docs/reasons.md"


def test_every_reason_is_given_somewhere_in_the_core() -> None:
    said = "\n".join(path.read_text() for path in (ROOT / "orchestrator/core").glob("*.py"))
    for name in (*Reason, *Refusal):
        kind = type(name).__name__
        assert len(re.findall(rf"\b{kind}\.{name.name}\b", said)) > 1, f"nothing gives {name}: remove it"


def test_every_reason_is_brought_about_by_a_story_or_a_test_of_the_core() -> None:
    told = _told_by_stories()
    asserted = "\n".join(
        path.read_text()
        for path in (ROOT / "tests/core").glob("test_*.py")
        if path.name != Path(__file__).name
    )
    missing = [
        str(name)
        for name in (*Reason, *Refusal)
        if name not in told and not re.search(rf"\b{type(name).__name__}\.{name.name}\b", asserted)
    ]
    assert not missing, (
        "tell a story that shows them (`show why`, `show decided`), or assert them in tests/core"
    )


def _told_by_stories() -> set[str]:
    """`why x`, `decided x`, `candidate b: x`, and a refused member's line, in the part that was told."""
    lines = re.compile(r"^(?:why|decided) (\w+)|^candidate \w+: (\w+)|^  \w+: (\w+):", re.MULTILINE)
    told = (path.read_text().partition("\n----\n")[2] for path in (ROOT / "tests/stories").glob("*.story"))
    return {word for text in told for groups in lines.findall(text) for word in groups if word}
