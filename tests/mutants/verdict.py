"""What became of one mutant."""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutants.catalogue import Mutant


@dataclass(frozen=True, slots=True)
class Verdict:
    mutant: Mutant
    by: str
    """`record` (orchestrator/core/invariants.py), `checker` (the simulator's), `story`, `nobody`, or `broken`: it did
    not run."""
    seed: int
    seeds: int
    took_s: float
    said: str

    @property
    def line(self) -> str:
        found = f"seed {self.seed:>5}, {self.seeds:>4} run" if self.seed else f"{self.seeds:>17} run"
        return f"{self.by:<8} {self.mutant.name:<40} {found}, {self.took_s:5.1f} s  {self.said[:150]}"
