"""What was recorded of each major is what the scripts expect, and docs/majors.md is made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.setup.binaries import LOWEST_MINOR
from tests.contract.postgres.experiment import Experiment
from tests.contract.postgres.record import PAGE, RECORD, Record, page, read, verdict
from tests.contract.postgres.scripts import EXPERIMENTS

ROOT = Path(__file__).resolve().parents[3]
AGAIN = "run make test-majors ARGS=--write"


@pytest.fixture(scope="module")
def record() -> Record:
    return read((ROOT / RECORD).read_text())


def test_every_supported_major_was_tried(record: Record) -> None:
    assert record.majors.keys() == LOWEST_MINOR.keys(), AGAIN


@pytest.mark.parametrize("major", LOWEST_MINOR)
def test_what_was_found_is_what_is_expected(record: Record, major: int) -> None:
    one = record.majors[major]
    assert one.facts.keys() == {experiment.name for experiment in EXPERIMENTS}, AGAIN
    verdicts = {experiment.name: verdict(experiment, major, one) for experiment in EXPERIMENTS}
    assert set(verdicts.values()) <= {"same", "different"}, verdicts


def test_the_page_is_made_of_the_record(record: Record) -> None:
    assert (ROOT / PAGE).read_text() == page(record, EXPERIMENTS), AGAIN


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_a_difference_says_what_the_code_does_about_it(experiment: Experiment) -> None:
    for difference in experiment.differences:
        assert difference.what_we_do
        assert difference.facts.keys() <= experiment.facts.keys()
        assert all(experiment.facts[what] != fact for what, fact in difference.facts.items())


def test_a_fact_that_nobody_expects_is_told_with_both(record: Record) -> None:
    experiment, one = EXPERIMENTS[0], record.majors[15]
    what = next(iter(experiment.facts))
    changed = replace(one, facts={experiment.name: {**one.facts[experiment.name], what: "else"}})
    assert verdict(experiment, 15, changed) == f"UNEXPECTED: {what}: else instead of {experiment.facts[what]}"
    assert verdict(EXPERIMENTS[1], 15, changed).startswith("NOT RUN")
