"""docs/protocol.md, the table of its clauses (docs/clauses.md), the code and the mutants say the same."""

from __future__ import annotations

import ast
import re

from tests.mutants.catalogue import PROTOCOL, RULES, Clause, clauses, mutants, says
from tests.planting import ROOT, fits

MUTANTS_AT_LEAST = 45
EQUIVALENT_AT_MOST = 2


def test_every_rule_has_clauses() -> None:
    assert {clause.rule for clause in clauses()} == set(RULES)


def test_a_clause_is_named_once() -> None:
    ids = [clause.id for clause in clauses()]
    assert len(ids) == len(set(ids))


def test_the_words_of_every_clause_stand_in_the_protocol() -> None:
    protocol = PROTOCOL.read_text()
    assert not [clause.id for clause in clauses() if not says(protocol, clause.quote)]


def test_the_words_that_a_mutant_takes_away_stand_in_the_protocol() -> None:
    protocol = PROTOCOL.read_text()
    assert not [mutant.name for mutant in mutants() if not says(protocol, mutant.quote)]


def test_every_clause_has_a_mutant_or_a_written_reason() -> None:
    assert not [c.id for c in clauses() if not c.mutants and len(c.why_none.split()) < 2]


def test_the_table_names_exactly_the_mutants_that_there_are() -> None:
    named = [(name, clause.id) for clause in clauses() for name in clause.mutants]
    assert sorted(named) == sorted((mutant.name, mutant.clause) for mutant in mutants())


def test_there_are_enough_mutants() -> None:
    assert len(mutants()) >= MUTANTS_AT_LEAST


def test_at_most_two_mutants_are_called_equivalent() -> None:
    assert len([m for m in mutants() if m.equivalent]) <= EQUIVALENT_AT_MOST


def test_every_mutant_fits_the_code() -> None:
    for mutant in mutants():
        fits(mutant.plant)


def test_a_mutant_bends_production_code_that_python_can_still_read() -> None:
    for mutant in mutants():
        texts = {edit.file: (ROOT / edit.file).read_text() for edit in mutant.edits}
        for edit in mutant.edits:
            assert edit.file.startswith(("orchestrator/core/", "agents/", "common/")), mutant.name
            texts[edit.file] = texts[edit.file].replace(edit.old, edit.new)
        for file, text in texts.items():
            ast.parse(text, file)


def test_the_places_that_the_table_names_exist() -> None:
    missing = [f"{clause.id}: {what}" for clause in clauses() for what in _not_there(clause)]
    assert not missing


def _not_there(clause: Clause) -> list[str]:
    """`a/b.py:f, g, c.py:h`: functions follow their file, a file without a folder lies beside the last one."""
    folder, names, missing = "", set[str](), []
    for part in clause.where.split(", "):
        file, _, function = part.partition(":") if ".py" in part else ("", "", part)
        if file:
            folder = file.rpartition("/")[0] or folder
            path = ROOT / folder / file.rpartition("/")[2]
            names = set(re.findall(r"^\s*(?:async )?(?:def|class) (\w+)", path.read_text(), re.MULTILINE))
        if function and file + function not in _NO_PLACE and function.rpartition(".")[2] not in names:
            missing.append(part)
    return missing


_NO_PLACE = {"(not built)", "(the whole)", "deploy"}
