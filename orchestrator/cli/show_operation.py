"""The steps of a switchover or failover as they come, and its one outcome.

Pure. Also the JSON form of a step, for `--json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cli.exit_codes import ExitCode
from orchestrator.cli.show_status import refusals
from orchestrator.cli.words import duration, one_line, spoken
from protos import operator_pb2 as pb

NAME_WIDTH = 16
TIME_WIDTH = 8

_KINDS = {
    pb.STEP_PROGRESS: "progress",
    pb.STEP_REFUSED: "refused",
    pb.STEP_SUCCEEDED: "succeeded",
    pb.STEP_FAILED: "failed",
}
_EXITS = {
    pb.STEP_SUCCEEDED: ExitCode.DONE,
    pb.STEP_FAILED: ExitCode.FAILED,
    pb.STEP_REFUSED: ExitCode.REFUSED,
}


def exit_code(step: pb.OperationStep) -> ExitCode:
    return _EXITS[step.kind]


def progress(step: pb.OperationStep) -> RenderableType:
    """`+  120 ms  sealing           epoch 8: asking every member`; a long text goes on below itself."""
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(no_wrap=True, style="dim")
    line.add_column(no_wrap=True, style="cyan", min_width=NAME_WIDTH)
    line.add_column(overflow="fold")
    line.add_row(
        f"+{duration(step.since_start_ms):>{TIME_WIDTH}}", spoken(step.name), Text(one_line(step.text))
    )
    return line


def outcome(step: pb.OperationStep) -> Iterator[RenderableType]:
    """The refusals as a table, where there are some; then exactly one line."""
    if step.refusals:
        yield Text()
        yield from refusals((r.member, r.reason, r.text) for r in step.refusals)
        yield Text()
    words = one_line(step.text)
    match step.kind:
        case pb.STEP_SUCCEEDED:
            text = Text("DONE", style="bold green").append(f"  {_sentence(words)}", style="default")
            yield text.append(f" {outage(step)}", style="default")
        case pb.STEP_REFUSED:
            yield Text("REFUSED", style="bold yellow").append(
                f"  {_sentence(words)} Nothing was changed.", style="default"
            )
        case _:
            yield Text("FAILED", style="bold red").append(f"  {_sentence(words)}", style="default")


def outage(step: pb.OperationStep) -> str:
    """How long nothing was acknowledged, as far as it was measured."""
    if not step.HasField("outage") or not step.outage.known:
        return "The outage could not be measured."
    return f"Outage {duration(step.outage.outage_ms)} ± {duration(step.outage.uncertainty_ms)}."


def unknown(text: str, again: str) -> Text:
    """When it was begun, and nobody could say how it ended."""
    line = Text("UNKNOWN", style="bold red").append(f"  {_sentence(one_line(text))} ", style="default")
    return line.append(f"Look again with: {again}", style="default")


def as_json(step: pb.OperationStep) -> dict[str, Any]:
    """One line of `--json`; `outage` and `refusals` are always there, so that scripts need not ask."""
    known = step.HasField("outage") and step.outage.known
    return {
        "operation": step.operation,
        "kind": _KINDS.get(step.kind, str(step.kind)),
        "name": step.name,
        "text": step.text,
        "since_start_ms": step.since_start_ms,
        "refusals": [{"member": r.member, "reason": r.reason, "text": r.text} for r in step.refusals],
        "outage": {"outage_ms": step.outage.outage_ms, "uncertainty_ms": step.outage.uncertainty_ms}
        if known
        else None,
    }


def _sentence(words: str) -> str:
    return words if not words or words[-1] in ".!?" else f"{words}."
