"""The mutants as files, and the table of clauses that they are held against (docs/clauses.md).

A mutant is `R6.8-no-barrier.toml`: the clause's id, and what is bent. Its file quotes the clause, and names
the edits in the form of tests/planting.py. One that can't be told from the original says why (`equivalent`);
one that today's simulator can't see says what is missing there (`blind`); one that a story turns red on names it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.planting import ROOT, Edit, Plant

FOLDER = Path(__file__).parent
TABLE = ROOT / "docs" / "clauses.md"
PROTOCOL = ROOT / "docs" / "protocol.md"
RULES = (*(f"R{n}" for n in range(1, 15)), "U")
"""U: "Staying up"."""
SHELLS_THAT_RUN = ("orchestrator/shell/leases.py", "orchestrator/shell/inbox.py")
"""Production code outside the cores that the simulator runs as it is."""
_NO_CLAUSE = re.compile(r"^\| (?P<rule>R\d+|U) \| (?P<words>.*?) \| (?P<why>.*?) \|$")
_ENDS = re.compile(r"(?<=[.;:])\)?\s+")
"""A sentence, and the parts of a long one."""
_ROW = re.compile(r"^\| (?P<id>(?:R\d+|U)\.\d+) \| (?P<quote>.*?) \| (?P<where>.*?) \| (?P<mutants>.*?) \|$")


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    quote: str
    """The words of docs/protocol.md that are taken away or bent."""
    edits: tuple[Edit, ...]
    equivalent: str = ""
    """The proof that no run can tell it from the original."""
    blind: str = ""
    """What the simulator lacks today to see it."""
    story: str = ""
    """The story below tests/stories that turns red, where no fault of the swarm brings the case about."""

    @property
    def clause(self) -> str:
        return self.name.partition("-")[0]

    @property
    def plant(self) -> Plant:
        return Plant(self.name, self.quote, "", self.edits)


@dataclass(frozen=True, slots=True)
class Clause:
    id: str
    quote: str
    where: str
    """`file:function`, or what stands for it."""
    mutants: tuple[str, ...]
    why_none: str
    """A written reason, where there is no mutant."""

    @property
    def rule(self) -> str:
        return self.id.partition(".")[0]


def mutants() -> tuple[Mutant, ...]:
    return tuple(sorted((_read(path) for path in FOLDER.glob("*.toml")), key=lambda m: _order(m.name)))


def clauses() -> tuple[Clause, ...]:
    return tuple(_rows(TABLE.read_text()))


def no_clauses() -> Iterator[tuple[str, str, str]]:
    """(rule, the words, why they ask for nothing by themselves)."""
    for line in TABLE.read_text().splitlines():
        row = _NO_CLAUSE.match(line.replace(r"\|", "\0"))
        if row is not None:
            yield row["rule"], row["words"].replace("\0", "|"), row["why"]


def rule_texts() -> dict[str, str]:
    """Each rule's text, without its heading; "Staying up" (U) without its table."""
    rules, _, after = PROTOCOL.read_text().partition("## Safety rules")[2].partition("## Staying up")
    rules = rules.partition("**Switchover**")[0]
    parts = re.split(r"^\*\*(R\d+)\. (?:[^*]*\.\*\*)?", rules, flags=re.MULTILINE)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    texts["U"] = "\n".join(line for line in after.partition("\n## ")[0].splitlines() if line[:1] != "|")
    return {rule: " ".join(text.split()) for rule, text in texts.items()}


def unquoted() -> Iterator[str]:
    """The sentences, and the parts of long ones, of which less than half is quoted by anything in the table."""
    quotes: dict[str, list[str]] = {rule: [] for rule in RULES}
    for clause in clauses():
        quotes[clause.rule].append(clause.quote)
    for rule, words, _ in no_clauses():
        quotes[rule].append(words)
    for rule, text in rule_texts().items():
        marked = bytearray(len(text))
        for quote in quotes[rule]:
            begins = text.find(" ".join(quote.split()))
            if begins >= 0:
                marked[begins : begins + len(quote)] = b"\1" * len(quote)
        at = 0
        for end in (*(found.start() for found in _ENDS.finditer(text)), len(text)):
            part = text[at:end].strip(" )")
            if part and 2 * sum(marked[at:end]) < len(part):
                yield f"{rule}: {part}"
            at = end


def says(text: str, quote: str) -> bool:
    """Whether the words stand there, however the lines are broken."""
    return " ".join(quote.split()) in " ".join(text.split())


def _read(path: Path) -> Mutant:
    raw = tomllib.loads(path.read_text())
    edits = tuple(Edit(edit["file"], edit["old"], edit["new"]) for edit in raw["edit"])
    return Mutant(
        path.stem, raw["clause"], edits, raw.get("equivalent", ""), raw.get("blind", ""), raw.get("story", "")
    )


def _rows(text: str) -> Iterator[Clause]:
    for line in text.splitlines():
        row = _ROW.match(line.replace(r"\|", "\0"))  # a pipe inside a cell
        if row is None:
            continue
        quote, mutants_or_why = (row[part].replace("\0", "|") for part in ("quote", "mutants"))
        named = tuple(re.findall(r"`((?:R\d+|U)\.\d+-[a-z0-9-]+)`", mutants_or_why))
        yield Clause(row["id"], quote, row["where"], named, "" if named else mutants_or_why)


def _order(name: str) -> tuple[int, int, str]:
    found = re.match(r"(R|U)(\d*)\.(\d+)", name)
    if found is None:
        raise ValueError(f"{name}: a mutant's file is named after a clause, such as R6.8-no-barrier")
    return (int(found[2]) if found[1] == "R" else 99, int(found[3]), name)
