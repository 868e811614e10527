"""Each `*.story` beside this file: what it covers and proves, the commands, `----`, what happened."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.stories.telling import LINE, parts, told

_STORIES = sorted(Path(__file__).parent.glob("*.story"))
_COVERS = "# covers: "
"""What scenarios.py collects."""


@pytest.mark.parametrize("path", _STORIES, ids=lambda path: path.stem)
def test_the_story_goes_as_told(path: Path, request: pytest.FixtureRequest) -> None:
    script, expected = parts(path)
    now = told(script, dice=request.config.getoption("--other-dice", default=None) or "")
    if request.config.getoption("--rewrite", default=False):
        path.write_text(f"{script.rstrip()}\n{LINE}\n{now}")
        return
    assert now == expected


@pytest.mark.parametrize("path", _STORIES, ids=lambda path: path.stem)
def test_a_story_opens_with_what_it_proves(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith(_COVERS)]
    assert lines[0].startswith("# ")
    assert len(lines[0].split()) > 5, "a sentence, please"


@pytest.mark.parametrize("path", _STORIES, ids=lambda path: path.stem)
def test_a_story_with_a_number_covers_what_it_is_named_after(path: Path) -> None:
    numbered = re.match(r"([st])(\d{3})_", path.name)
    if numbered is not None:
        first = path.read_text().partition("\n")[0]
        assert f"{numbered[1].upper()}{int(numbered[2])}" in first.removeprefix(_COVERS).split()


def test_there_are_stories() -> None:
    assert len(_STORIES) >= 60
