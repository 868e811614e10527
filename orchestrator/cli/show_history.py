"""Incidents as people read them afterwards: what happened when, why, and what it cost.

Pure, but for the time zone of the person who looks.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.cli.show_status import refusals
from orchestrator.cli.words import date_and_time, duration, one_line, size, spoken, time_of_day
from orchestrator.telemetry.incident import CANARY, PROBES, Incident

INDENT = 2
_BY = {CANARY: "seen by the canary", PROBES: "estimated: no canary saw it"}
_OUTCOMES = {"succeeded": "green", "refused": "yellow", "failed": "bold red", "": "yellow"}


def pages(cluster: str, incidents: Sequence[Incident], zone: datetime.tzinfo | None = None) -> RenderableType:
    """Newest first."""
    if not incidents:
        return Text(f"Nothing ever happened to {cluster}.")
    parts: list[RenderableType] = []
    for number, incident in enumerate(incidents):
        parts += [Text()] * bool(number)
        parts += list(_page(incident, zone))
    return Group(*parts)


def _page(incident: Incident, zone: datetime.tzinfo | None) -> Iterator[RenderableType]:
    head = Text(f"epoch {incident.epoch}", style="bold")
    head.append(f"  {date_and_time(incident.began_wall_ms, zone)}  ", style="not bold")
    head.append(
        incident.outcome or "not ended", style=f"not bold {_OUTCOMES.get(incident.outcome, 'default')}"
    )
    if incident.operation:
        head.append(f"  operation {incident.operation}", style="not bold dim")
    yield head
    if incident.cause and incident.cause not in [step.text for step in incident.steps[:1]]:
        yield _inside(Text(f"cause: {one_line(incident.cause)}"))
    yield _inside(_steps(incident, zone))
    if incident.left_out_count:
        yield _inside(Text(f"{incident.left_out_count} steps in the middle are left out", style="dim"))
    if incident.refused:
        for piece in refusals(((r.member, r.reason, r.text) for r in incident.refused), "NOT CHOSEN"):
            yield _inside(piece)
    yield _inside(_cost(incident))


def _inside(what: RenderableType) -> Padding:
    return Padding(what, (0, 0, 0, INDENT), expand=False)


def _steps(incident: Incident, zone: datetime.tzinfo | None) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(no_wrap=True, justify="right", style="dim")
    table.add_column(no_wrap=True, style="cyan")
    table.add_column(overflow="fold")
    for step in incident.steps:
        text = one_line(step.text) or step.member or ""
        table.add_row(
            time_of_day(step.wall_ms, zone), f"+{duration(step.since_start_ms)}", spoken(step.name), text
        )
    return table


def _cost(incident: Incident) -> Text:
    text = Text("outage ", style="dim")
    if incident.outage_ms is None:
        text.append("not measured", style="default")
    else:
        text.append("at least " * incident.outage_at_least + duration(incident.outage_ms), style="default")
        if incident.uncertainty_ms is not None:
            text.append(f" ± {duration(incident.uncertainty_ms)}", style="default")
        if incident.outage_by:
            by = _BY.get(incident.outage_by, incident.outage_by)
            if incident.canary_part_ms is not None:
                by = f"estimated; the canary saw at least {duration(incident.canary_part_ms)}"
            text.append(f" ({by})", style="dim")
    text.append("   data lost ", style="dim")
    if not incident.outcome:
        return text.append("not known yet", style="default")
    if incident.data_lost_bytes is None:
        return text.append("not known", style="yellow")
    if incident.data_lost_bytes == 0:
        return text.append("nothing that was acknowledged", style="default")
    return text.append(size(incident.data_lost_bytes), style="bold red")
