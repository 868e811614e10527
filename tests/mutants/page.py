"""The page that a whole run of the mutants writes (docs/evidence/mutants.md). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.mutants.verdict import Verdict

_SAID_MAX = 95


def page(verdicts: Sequence[Verdict], *, command: str, where: str, took_s: float) -> str:
    """`where`: the day, the commit and the machine."""
    by = Counter(verdict.by for verdict in verdicts)
    seeds = sorted(verdict.seeds for verdict in verdicts if verdict.seed)
    half = ""
    if seeds:
        half = f" Half of those that a seed caught took at most {seeds[len(seeds) // 2]}, the longest {seeds[-1]}."
    lines = [
        "# Mutants: what the simulator sees when a clause of the protocol is taken away",
        "",
        f"`{command}`, {where}: {took_s / 60:.0f} minutes. Of {len(verdicts)} mutants {by['checker']} were caught by the "
        f"simulator's own checkers, {by['record']} by the check of records that production runs too (`record`), "
        f"{by['story']} turn a story red that they name (`story`), {by['nobody']} by nobody; {by['broken']} did not "
        f"run.{half}",
        "",
        "| mutant | caught by | seed | seeds run | what was said |",
        "| --- | --- | --- | --- | --- |",
    ]
    for verdict in verdicts:
        lines.append(
            f"| {verdict.mutant.name} | {verdict.by} | {verdict.seed or '-'} | {verdict.seeds} | {_cell(verdict)} |"
        )
    survivors = [verdict for verdict in verdicts if verdict.by == "nobody"]
    if survivors:
        lines += ["", "Nobody sees:", ""]
        lines += [
            f'- **{verdict.mutant.name}** ("{verdict.mutant.quote}"): '
            + (f"equivalent. {verdict.mutant.equivalent}" if verdict.mutant.equivalent else "NOT EXPLAINED")
            for verdict in survivors
        ]
    return "\n".join([*lines, ""])


def _cell(verdict: Verdict) -> str:
    if verdict.by == "nobody":
        return "equivalent, see below" if verdict.mutant.equivalent else "not explained"
    return verdict.said[:_SAID_MAX].replace("|", "/")
