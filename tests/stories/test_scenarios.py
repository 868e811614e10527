"""The list of scenarios and traps is covered or explained, and its page is what the tests declare."""

from __future__ import annotations

import ast

import pytest

from tests.stories import scenarios


def test_every_scenario_and_trap_is_covered_or_explained() -> None:
    mistakes = list(scenarios.mistakes())
    if mistakes:
        pytest.fail("\n".join(mistakes), pytrace=False)


def test_the_page_says_what_the_tests_declare() -> None:
    assert scenarios.PAGE.read_text() == scenarios.page(), f"run: {scenarios.WRITE}"


def test_a_tag_in_the_first_line_and_a_marker_are_found() -> None:
    assert scenarios._tagged("# covers: S13 T8\n# prose\n") == ["S13", "T8"]
    assert scenarios._tagged("# prose\n# covers: S13\n") == []
    marked = ast.parse(
        'pytestmark = [pytest.mark.real, pytest.mark.covers("T1")]\n'
        '@pytest.mark.covers("S2", "R3")\nasync def test_x(): ...\n'
    )
    assert sorted(scenarios._marked(marked)) == [("R3", "test_x"), ("S2", "test_x"), ("T1", "")]


def test_what_a_fault_of_a_catalogue_covers_is_found() -> None:
    played = ast.parse(
        'X = (Scenario("host lost", "it moves", covers=("S1", "T2")), Scenario("other", "stays"))\n'
    )
    assert list(scenarios._played(played)) == [("S1", "host lost"), ("T2", "host lost")]
    text = "\n# covers: S34 T37\ndef is_frozen(s: Scene) -> None: ...\n\ndef other(s: Scene) -> None: ...\n"
    assert list(scenarios._commented(text)) == [("S34", "is_frozen"), ("T37", "is_frozen")]
