"""The account of one epoch: what happened when, why, what it cost. Schema 1, fields are only added.

Pure. Built step by step from the core's stories, stored as it grows, so that a new leader goes on with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from common.ids import ClusterName, MemberName
from orchestrator.core.effects import Story

STEPS_MAX = 200
"""So that an account fits where it is stored, whatever goes wrong for however long. Of more, those in the middle are
left out: how it began and what is newest stay."""
ONCE = frozenset({"serving", "names", "whole", "settled", "promoted"})
"""True once in an epoch; a new leader that says it again adds nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    text: str
    wall_ms: int
    since_start_ms: int
    member: MemberName | None = None


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A member that was not chosen, and why, with the measured value."""

    member: MemberName
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Incident:
    cluster: ClusterName
    epoch: int
    began_wall_ms: int
    cause: str = ""
    operation: str = ""
    """Who asked: its id; empty until it is known."""
    steps: tuple[Step, ...] = ()
    refused: tuple[RefusedLine, ...] = ()
    outage_ms: int | None = None
    """As far as it was measured."""
    uncertainty_ms: int | None = None
    data_lost_bytes: int | None = 0
    """Acknowledged and gone. Quorum durability: none, or no candidate would have met its bound (R3)."""
    outcome: str = ""
    """`succeeded`, `refused` or `failed`; empty while it goes on."""
    left_out_count: int = 0
    """Steps between the older half and the newer half of those that are kept."""
    schema: int = 1

    @property
    def id(self) -> str:
        """Sorts as its epoch does."""
        return f"{self.epoch:012d}"


def begun(cluster: ClusterName, epoch: int, wall_ms: int) -> Incident:
    return Incident(cluster, epoch, wall_ms)


def told(incident: Incident, story: Story, wall_ms: int) -> Incident:
    """With one more step; the same incident when it says nothing new. The same words later on are news: a standby
    may be lost twice in an epoch."""
    names = {step.name for step in incident.steps}
    said_just_now = {(step.name, step.text) for step in incident.steps[-1:]}
    if (story.name in ONCE and story.name in names) or (story.name, story.text) in said_just_now:
        return incident
    step = Step(story.name, story.text, wall_ms, max(0, wall_ms - incident.began_wall_ms), story.member)
    steps, left_out_count = incident.steps, incident.left_out_count
    if len(steps) >= STEPS_MAX:
        half = STEPS_MAX // 2
        steps, left_out_count = (*steps[:half], *steps[half + 1 :]), left_out_count + 1
    grown = replace(
        incident,
        steps=(*steps, step),
        left_out_count=left_out_count,
        cause=incident.cause or story.text,
        operation=incident.operation or story.operation,
    )
    if story.refused:
        refused = tuple(RefusedLine(r.member, r.refusal.value, r.text) for r in story.refused)
        grown = replace(grown, refused=refused)
    if story.outage is not None and grown.outage_ms is None:
        grown = replace(grown, outage_ms=story.outage.outage_ms, uncertainty_ms=story.outage.uncertainty_ms)
    if story.final:
        grown = replace(grown, outcome=story.final)
    elif story.name == "serving" and not grown.operation:
        grown = replace(grown, outcome="succeeded")  # nobody asked, so nobody is told an end
    return grown
