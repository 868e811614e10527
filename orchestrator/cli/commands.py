"""What each command does, once its words were read (`main.py`): asks, prints, and returns the exit code.

Imported only when a command runs, so that `--help` and completion stay quick.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Group
from rich.live import Live
from rich.text import Text

from common.codec import decode, encode
from common.errors import BadConfig, NotDelivered, OutcomeUnknown, Refused
from orchestrator.cli import cluster_file, show_history, show_operation, show_status
from orchestrator.cli.context import Connection
from orchestrator.cli.control import Answer, ControlNodes, Notice, watch
from orchestrator.cli.exit_codes import ExitCode
from orchestrator.cli.operation import FINAL, Alive, Begin, follow
from orchestrator.cli.screen import Screen
from orchestrator.cli.words import plain, spoken
from orchestrator.core.reasons import Refusal
from orchestrator.core.status import ClusterStatus
from orchestrator.telemetry.incident import Incident
from protos import operator_pb2 as pb

T = TypeVar("T")

APPLY_WITHIN_S = 15.0


def run(screen: Screen, command: Callable[[], Coroutine[Any, Any, ExitCode]]) -> ExitCode:
    """Errors become words on stderr and a code; nobody sees a traceback for what is the world's doing."""
    try:
        return asyncio.run(command())
    except BadConfig as error:
        for mistake in error.mistakes:
            screen.note(mistake, style="red")
        return ExitCode.BAD_INPUT
    except Refused as error:
        screen.note(f"refused: {error}", style="yellow")
        return ExitCode.REFUSED
    except NotDelivered as error:
        screen.note(str(error), style="red")
        return ExitCode.NO_CONTROL_NODE
    except OutcomeUnknown as error:
        screen.note(f"the outcome is not known: {error}", style="red")
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


async def apply(
    screen: Screen, connection: Callable[[], Connection], file: Path, *, dry_run: bool, as_json: bool
) -> ExitCode:
    """The file is read before anything else is looked at: its mistakes are what this is about."""
    spec = cluster_file.read(file)
    request = pb.ApplyRequest(spec_json=encode(spec), dry_run=dry_run)
    async with ControlNodes(connection(), screen.note) as nodes:
        with screen.waiting(f"applying {file}"):
            try:
                answer = await nodes.ask(
                    lambda stub: stub.Apply, request, within_s=APPLY_WITHIN_S, changes=True
                )
            except BadConfig as error:
                raise BadConfig(f"{file}: {mistake}" for mistake in error.mistakes) from error
    reply = answer.reply
    if as_json:
        changes = [str(change) for change in reply.changes]
        screen.json(json.dumps({"changed": reply.changed, "changes": changes, "dry_run": dry_run}))
        return ExitCode.DONE
    for change in reply.changes:
        screen.say(Text("  ").append(plain(change)))
    count = f"{len(reply.changes)} change{'s' * (len(reply.changes) != 1)}"
    if not reply.changes and not reply.changed:
        lost = " (the first answer was lost; it may have been applied then)" * answer.asked_before
        screen.say(Text(f"{spec.name} is already as {file} says; nothing to change{lost}."))
    elif dry_run:
        screen.say(Text(f"{count} to {spec.name} would be made; this was a dry run."))
    else:
        screen.say(
            Text(f"{count} to {spec.name} applied. Follow it with:  primacy status {spec.name} --watch")
        )
    return ExitCode.DONE


@dataclass(frozen=True, slots=True)
class StatusWanted:
    cluster: str
    as_json: bool
    exit_code: bool


async def status(screen: Screen, connection: Connection, wanted: StatusWanted) -> ExitCode:
    async with ControlNodes(connection, screen.note) as nodes:
        with screen.waiting("asking the control nodes"):
            answer = await nodes.ask(lambda stub: stub.Status, pb.StatusRequest(cluster=wanted.cluster))
    found = _statuses(answer.reply.json, wanted.cluster)
    if wanted.as_json:
        screen.json(answer.reply.json)
    else:
        screen.say(_page(screen, wanted.cluster, found))
    whole = all(s.whole for s in found)
    return ExitCode.NOT_WHOLE if wanted.exit_code and not whole else ExitCode.DONE


async def watch_status(screen: Screen, connection: Connection, wanted: StatusWanted) -> ExitCode:
    """Until Ctrl-C, which is its normal end."""
    show = (
        _Redrawn(screen, wanted) if screen.interactive and not wanted.as_json else _Appended(screen, wanted)
    )
    async with ControlNodes(connection, show.note) as nodes, aclosing(watch(nodes, wanted.cluster)) as news:
        try:
            with show:
                async for piece in news:
                    if isinstance(piece, Notice):
                        show.note(piece.text)
                    else:
                        show.answer(piece)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()  # Ctrl-C: the person has seen enough
    return ExitCode.DONE


class _Appended:
    """For pipes and files: each status that differs in more than ages; with --json each one, a line."""

    def __init__(self, screen: Screen, wanted: StatusWanted) -> None:
        self._screen, self._wanted = screen, wanted
        self._last: object = None

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def note(self, text: str) -> None:
        self._screen.note(text)

    def answer(self, answer: Answer) -> None:
        found = _statuses(answer.reply.json, self._wanted.cluster)
        if self._wanted.as_json:
            self._screen.json(answer.reply.json)
            return
        matter = [_without_ages(s) for s in found]
        if matter != self._last:
            if self._last is not None:
                self._screen.say(Text())
            self._last = matter
            self._screen.say(_page(self._screen, self._wanted.cluster, found))


class _Redrawn:
    """For terminals: the same place is drawn anew with each status."""

    def __init__(self, screen: Screen, wanted: StatusWanted) -> None:
        self._screen, self._wanted = screen, wanted
        self._found: Sequence[ClusterStatus] | None = None
        self._from, self._notice = "", "asking the control nodes"
        self._live = Live(console=screen.out, auto_refresh=False, vertical_overflow="visible")

    def __enter__(self) -> None:
        self._live.start()
        self._draw()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        self._notice = text
        self._draw()

    def answer(self, answer: Answer) -> None:
        self._found = _statuses(answer.reply.json, self._wanted.cluster)
        if answer.address != self._from:
            # What was said of the way here stays until the next change, so that nobody overlooks it.
            self._notice = self._notice if self._from else ""
            self._from = answer.address
        self._draw()

    def _draw(self) -> None:
        foot = Text(f"from {self._from}  " if self._from else "", style="dim")
        foot.append("Ctrl-C ends", style="dim")
        lines = [Text(self._notice, style="yellow")] if self._notice else []
        if self._found is None:
            self._live.update(Group(*lines, foot), refresh=True)
            return
        page = _page(self._screen, self._wanted.cluster, self._found)
        self._live.update(Group(page, Text(), *lines, foot), refresh=True)


@dataclass(frozen=True, slots=True)
class OperationWanted:
    method: str
    """Of the API: `Switchover` or `Failover`."""
    begin: Begin
    cluster: str
    command: str
    """As it was typed, for the hint how to look again."""
    request_id: str
    """Empty: drawn here."""
    as_json: bool


async def operate(screen: Screen, connection: Connection, wanted: OperationWanted) -> ExitCode:
    """A switchover or a failover: its steps as they come, and one outcome."""
    request_id = wanted.request_id or secrets.token_hex(8)
    again = f"{wanted.command} --request-id {request_id}"
    last: pb.OperationStep | None = None
    begun = False
    async with ControlNodes(connection, screen.note) as nodes:
        try:
            with screen.waiting("asking the control nodes") as waiting:
                steps = follow(
                    nodes,
                    lambda stub: getattr(stub, wanted.method),
                    wanted.begin,
                    cluster=wanted.cluster,
                    request_id=request_id,
                )
                async with aclosing(steps):
                    async for step in steps:
                        begun = True
                        match step:
                            case Notice():
                                screen.note(step.text)
                            case Alive():
                                waiting.still(step.text or waiting.text)
                            case pb.OperationStep():
                                last = step
                                waiting.now(spoken(step.name))
                                _show_step(screen, step, as_json=wanted.as_json)
        except OutcomeUnknown as error:
            if wanted.as_json:
                screen.json(json.dumps({"kind": "unknown", "text": str(error), "again": again}))
            else:
                screen.say(show_operation.unknown(str(error), again))
            return ExitCode.FAILED
        except asyncio.CancelledError:
            if begun:
                screen.note(f"It goes on without you. Look again with: {again}")
            raise
    assert last is not None, "follow ends with an outcome, or raises"
    if not wanted.as_json:
        for piece in show_operation.outcome(last):
            screen.say(piece)
    return show_operation.exit_code(last)


def _show_step(screen: Screen, step: pb.OperationStep, *, as_json: bool) -> None:
    if as_json:
        screen.json(json.dumps(show_operation.as_json(step)))
    elif step.kind not in FINAL:
        screen.say(show_operation.progress(step))


async def history(
    screen: Screen, connection: Connection, *, cluster: str, limit: int, as_json: bool
) -> ExitCode:
    request = pb.HistoryRequest(cluster=cluster, limit=limit)
    async with ControlNodes(connection, screen.note) as nodes:
        with screen.waiting("asking the control nodes"):
            answer = await nodes.ask(lambda stub: stub.History, request)
    incidents = [bytes(incident) for incident in answer.reply.incidents_json]
    if as_json:
        screen.json(b"[" + b",".join(incidents) + b"]")
        return ExitCode.DONE
    screen.say(show_history.pages(cluster, [_read(incident, Incident) for incident in incidents]))
    return ExitCode.DONE


def _statuses(document: bytes, cluster: str) -> list[ClusterStatus]:
    """Of the fleet a list, of one cluster an object; a newer node may say more."""
    return [_read(document, ClusterStatus)] if cluster else _read(document, list[ClusterStatus])


def _read(document: bytes, wanted: type[T]) -> T:
    try:
        return decode(document, wanted)
    except ValueError as error:
        raise OutcomeUnknown(
            f"the control node's answer can't be read ({error}); is it of another version?"
        ) from error


def _page(screen: Screen, cluster: str, found: Sequence[ClusterStatus]) -> Any:
    width = screen.out.width
    return show_status.cluster(found[0], width) if cluster else show_status.fleet(found, width)


def _without_ages(status: ClusterStatus) -> object:
    """What people would call a change."""
    members = [
        (m.name, m.role, m.state, m.incarnation, m.timeline, m.activity, m.error) for m in status.members
    ]
    # Who is the next in line changes with every commit.
    candidates = [
        (c.member, c.refusal)
        for c in status.candidates
        if not c.eligible and c.refusal != Refusal.RANKED_LOWER.value
    ]
    return (
        replace(status, revision=0, term=0, leader="", reasons=(), members=(), candidates=()),
        members,
        candidates,
    )
