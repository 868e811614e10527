"""One story file: what is told when it is played, and what it expects."""

from __future__ import annotations

from pathlib import Path

from orchestrator.core.invariants import InvariantBroken
from tests.stories.storyteller import Storyteller
from tests.stories.untellable import Untellable

FOLDER = Path(__file__).parent
LINE = "----"


def parts(path: Path) -> tuple[str, str]:
    """The script, and what it expects."""
    script, _, expected = path.read_text().partition(f"\n{LINE}\n")
    return script, expected


def told(script: str, *, dice: str = "") -> str:
    """`dice`: another seed than the story's own."""
    teller = Storyteller()
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            teller.play(f"{line} seed={dice}" if dice and line.startswith("fleet") else line)
    return "\n".join(teller.told) + "\n"


def what_is_wrong(name: str) -> str:
    """Empty: the story goes as told. Else the first line that differs, or what was violated; a crash is no answer."""
    script, expected = parts(FOLDER / f"{name}.story")
    try:
        now = told(script)
    except (AssertionError, InvariantBroken, Untellable) as raised:
        return f"{type(raised).__name__}: {raised}"
    if now == expected:
        return ""
    lines = zip(now.splitlines(), expected.splitlines(), strict=False)
    return next((f"told: {new}" for new, old in lines if new != old), "told more, or less")
