"""docs/protocol.md, the table of its clauses (docs/clauses.md), the code and the mutants say the same."""

from __future__ import annotations

import ast
import re

from tests.mutants.catalogue import (
    PROTOCOL,
    RULES,
    SHELLS_THAT_RUN,
    Clause,
    clauses,
    mutants,
    no_clauses,
    rule_texts,
    says,
    unquoted,
)
from tests.planting import ROOT, fits

MUTANTS_AT_LEAST = 45
EQUIVALENT_AT_MOST = 2
BENT = ("orchestrator/core/", "agents/", "common/")
EVIDENCE = ROOT / "docs" / "evidence" / "mutants.md"


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


def test_every_sentence_of_the_rules_is_quoted_or_stands_there_with_a_reason() -> None:
    assert not list(unquoted())


def test_the_words_that_are_no_clause_stand_in_their_rule_and_say_why() -> None:
    texts = rule_texts()
    assert not [words for rule, words, why in no_clauses() if not says(texts[rule], words) or not why]


def test_every_clause_is_quoted_from_its_own_rule() -> None:
    texts = rule_texts()
    assert not [clause.id for clause in clauses() if not says(texts[clause.rule], clause.quote)]


def test_every_clause_has_a_mutant_or_a_written_reason() -> None:
    assert not [c.id for c in clauses() if not c.mutants and len(c.why_none.split()) < 2]


def test_the_table_names_exactly_the_mutants_that_there_are() -> None:
    named = [(name, clause.id) for clause in clauses() for name in clause.mutants]
    assert sorted(named) == sorted((mutant.name, mutant.clause) for mutant in mutants())


def test_there_are_enough_mutants() -> None:
    assert len(mutants()) >= MUTANTS_AT_LEAST


def test_at_most_two_mutants_are_called_equivalent() -> None:
    assert len([m for m in mutants() if m.equivalent]) <= EQUIVALENT_AT_MOST


def test_a_mutant_that_is_called_blind_or_equivalent_is_only_one_of_both() -> None:
    assert not [m.name for m in mutants() if m.equivalent and m.blind]


def test_the_story_that_a_mutant_names_is_there() -> None:
    there = {path.stem for path in (ROOT / "tests" / "stories").glob("*.story")}
    assert not [m.name for m in mutants() if m.story and (m.story not in there or m.blind or m.equivalent)]


def test_what_is_called_blind_was_not_seen_to_be_caught() -> None:
    seen = set(re.findall(r"^\| (\S+) \| (?:checker|record|story) \|", EVIDENCE.read_text(), re.MULTILINE))
    assert not [m.name for m in mutants() if (m.blind or m.equivalent) and m.name in seen]


def test_every_mutant_fits_the_code() -> None:
    for mutant in mutants():
        fits(mutant.plant)


def test_a_mutant_bends_production_code_that_python_can_still_read() -> None:
    for mutant in mutants():
        texts = {edit.file: (ROOT / edit.file).read_text() for edit in mutant.edits}
        for edit in mutant.edits:
            assert edit.file.startswith(BENT) or edit.file in SHELLS_THAT_RUN, mutant.name
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
