"""A failover that is due and can't be: told when it begins, when its reason is another one, and when the primary goes on.

Pure. Without it the history of an outage that ended where it began, in its own epoch, would be empty.
"""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.core.diagnose import Diagnosis, Finding
from orchestrator.core.effects import Story
from orchestrator.core.move import Move
from orchestrator.core.reasons import Because
from orchestrator.core.record import Record
from orchestrator.core.view import ClusterView

_WELL = frozenset({Diagnosis.HEALTHY, Diagnosis.QUORUM_AT_RISK})


def no_failover(
    move: Move, record: Record, view: ClusterView, finding: Finding, why_not: tuple[Because, ...]
) -> Move:
    """With the story, where it is news. Texts have measured values, which are news with every turn: names count."""
    stuck = (str(finding.diagnosis), *(f"{because.reason} {because.member}" for because in why_not))
    if stuck == view.stuck:
        return move
    cause = finding.because[0]
    reasons = "; ".join(because.text for because in why_not)
    text = f"{finding.diagnosis}: {cause.member}: {cause.text}; {reasons}"
    story = Story(record.epoch, "no failover", text, member=record.primary)
    return replace(move, effects=(*move.effects, story), stuck=stuck)


def goes_on(move: Move, record: Record, view: ClusterView, finding: Finding) -> Move:
    """A record that leaves the epoch tells that itself."""
    if not view.stuck or finding.diagnosis not in _WELL or move.record is not None:
        return move
    text = f"{record.primary} is the primary as before, in epoch {record.epoch}"
    story = Story(record.epoch, "goes on", text, member=record.primary)
    return replace(move, effects=(*move.effects, story), stuck=())
