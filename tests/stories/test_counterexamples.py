"""Each counterexample of the models has a small plan that is like it, or a reason; the page of them is up to date."""

from __future__ import annotations

from tests.stories.counterexamples import PAGE, WRITE, counterexamples, mistakes, page


def test_every_counterexample_has_a_plan_or_a_reason() -> None:
    assert not list(mistakes())


def test_the_page_is_what_is_found() -> None:
    assert PAGE.read_text() == page(), f"write it anew: {WRITE}"


def test_there_are_counterexamples() -> None:
    assert len(counterexamples()) >= 70
