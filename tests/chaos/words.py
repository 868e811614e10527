"""What Primacy said of a fault, compared with the fault: the right diagnosis, and no other. Pure.

Where the primary moved it is the history that must say why; else a status will do.

What may be said in passing is no mistake: a primary is suspected before it is given up, a new one waits for its voters
for a moment. Every other diagnosis is either one that the scenario names, or wrong.
"""

from __future__ import annotations

import re

from orchestrator.core.diagnose import Diagnosis
from tests.chaos.scenario import Scenario, Then

IN_PASSING = frozenset(
    {
        Diagnosis.HEALTHY,
        Diagnosis.WARMING_UP,
        Diagnosis.STARTING,
        Diagnosis.SUSPECTED,
        Diagnosis.QUORUM_AT_RISK,
    }
)
_NAMES = re.compile(rf"\b({'|'.join(Diagnosis)})\b")


def wrong_words(scenario: Scenario, history_text: str, status_text: str) -> list[str]:
    both = f"{history_text}\n{status_text}"
    found = [f"the history does not say {p!r}" for p in scenario.history if not _has(p, history_text)]
    found += [f"no status said {p!r}" for p in scenario.status if not _has(p, status_text)]
    found += [f"it was said {p!r}" for p in scenario.never_said if _has(p, both)]
    said = {Diagnosis(name) for name in _NAMES.findall(both)}
    right = frozenset(scenario.diagnosed)
    where = history_text if scenario.then is Then.MOVES else both
    if right and not {Diagnosis(name) for name in _NAMES.findall(where)} & right:
        who = "the history did not say" if scenario.then is Then.MOVES else "nobody said"
        found.append(f"{who} {' or '.join(scenario.diagnosed)}")
    allowed = right | IN_PASSING | frozenset(scenario.also_diagnosed)
    found += [f"it was said {name}, which it was not" for name in sorted(said - allowed)]
    if Diagnosis.HOST_LOST in history_text and not _has("suspected: ", history_text):
        found.append("the history does not say since when the primary was suspected")
    return found


def _has(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE) is not None
