"""The figures that people read are those that a command measured."""

from __future__ import annotations

import json

import pytest

from deploy.bench import document


def test_the_page_of_figures_is_what_its_evidence_says() -> None:
    evidence = document.newest()
    if evidence is None:
        pytest.fail("docs/evidence has no *-bench.json: make bench ARGS='--json docs/evidence/…-bench.json'")
    wanted = document.text(evidence.name, json.loads(evidence.read_text()))
    assert document.DOCUMENT.read_text() == wanted, "run: python -m deploy.bench.document"
