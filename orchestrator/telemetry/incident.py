"""The account of one epoch: what happened when, why, what it cost. Schema 1, fields are only added.

Pure. Built step by step from the core's stories, stored as it grows, so that a new leader goes on with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from common.ids import ClusterName, MemberName
from orchestrator.core.effects import Story
from orchestrator.core.outages import CanaryOutage

STEPS_MAX = 200
"""So that an account fits where it is stored, whatever goes wrong for however long. Of more, those in the middle are
left out: how it began and what is newest stay."""
ONCE = frozenset({"serving", "names", "whole", "settled", "promoted"})
"""True once in an epoch; a new leader that says it again adds nothing."""
CANARY, PROBES = "canary", "probes"


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
    outage_by: str = ""
    """`canary`, or `probes`: estimated from the probe commits of the agents; empty: by an earlier version."""
    outage_at_least: bool = False
    """Only a part of it was seen, or it goes on."""
    canary_part_ms: int | None = None
    """What the canary saw of it, where that was a part and says less than the estimate."""
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
    if story.outage is not None and _is_better_estimate(story.outage.outage_ms, grown):
        grown = replace(
            grown,
            outage_ms=story.outage.outage_ms,
            uncertainty_ms=story.outage.uncertainty_ms,
            outage_by=PROBES,
            outage_at_least=False,
            canary_part_ms=grown.outage_ms,
        )
    if story.final:
        grown = replace(grown, outcome=story.final)
    elif story.name == "serving" and not grown.operation:
        grown = replace(grown, outcome="succeeded")  # nobody asked, so nobody is told an end
    return grown


def is_over(incident: Incident) -> bool:
    return any(step.name == "whole" for step in incident.steps)


def measured(incident: Incident, outage: CanaryOutage) -> Incident:
    """With the outage as the canary saw it; the same incident where a better figure stands there already."""
    longer = incident.outage_ms is None or outage.outage_ms > incident.outage_ms
    if incident.outage_by == CANARY:
        same = outage.outage_ms == incident.outage_ms
        better = longer or (same and incident.outage_at_least and not outage.at_least)
    else:  # a part says nothing against an estimate of the whole, unless it is longer
        better = longer or not outage.at_least
    if not better:
        if incident.outage_by == CANARY or outage.outage_ms <= (incident.canary_part_ms or 0):
            return incident
        return replace(incident, canary_part_ms=outage.outage_ms)
    return replace(
        incident,
        outage_ms=outage.outage_ms,
        uncertainty_ms=outage.resolution_ms,
        outage_by=CANARY,
        outage_at_least=outage.at_least,
        canary_part_ms=None,
    )


def _is_better_estimate(outage_ms: int, incident: Incident) -> bool:
    if incident.outage_ms is None:
        return True
    return incident.outage_by == CANARY and incident.outage_at_least and outage_ms > incident.outage_ms
