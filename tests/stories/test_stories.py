"""Each `*.story` beside this file: what it proves, the commands, `----`, what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stories.storyteller import Storyteller

_STORIES = sorted(Path(__file__).parent.glob("*.story"))
_LINE = "----"


@pytest.mark.parametrize("path", _STORIES, ids=lambda path: path.stem)
def test_the_story_goes_as_told(path: Path, request: pytest.FixtureRequest) -> None:
    script, _, expected = path.read_text().partition(f"\n{_LINE}\n")
    teller = Storyteller()
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            teller.play(line)
    told = "\n".join(teller.told) + "\n"
    if request.config.getoption("--rewrite", default=False):
        path.write_text(f"{script.rstrip()}\n{_LINE}\n{told}")
        return
    assert told == expected


@pytest.mark.parametrize("path", _STORIES, ids=lambda path: path.stem)
def test_a_story_opens_with_what_it_proves(path: Path) -> None:
    assert path.read_text().startswith("# ")


def test_there_are_stories() -> None:
    assert len(_STORIES) >= 12
