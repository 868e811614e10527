"""A cluster's status, and the fleet's, as people read it; fits 80 columns, says more where there is room.

Pure: a status in, something printable out. Colour only repeats what the words say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from common.facts import WriteState
from orchestrator.cli.words import NOTHING, age, duration, listed, mebibytes, one_line, size, spoken
from orchestrator.core.reasons import Refusal
from orchestrator.core.record import Phase
from orchestrator.core.status import ClusterStatus, MemberLine

WIDE = 110
GOOD, BUSY, BAD, QUIET = "green", "yellow", "bold red", "dim"
HEALTHY = "Healthy"

_STATE_STYLES = {
    "serving": GOOD,
    "streaming": GOOD,
    "voter": GOOD,
    "superseded": BAD,
    "silent": BAD,
    "failed": BAD,
    "damaged": BAD,
}
_NOT_A_FLAW = frozenset({Refusal.IS_PRIMARY.value, Refusal.RANKED_LOWER.value})
"""Refusals that every healthy cluster has."""


def fleet(clusters: Sequence[ClusterStatus], width: int) -> RenderableType:
    """A line for each cluster, those in trouble first."""
    if not clusters:
        return Text("There is no cluster yet. Make one:  primacy cluster apply FILE")
    wide = width >= WIDE
    table = _table(
        "CLUSTER", "STATE", "PRIMARY", "EPOCH", "STANDBYS", "LAG", "NAMES", *(("RULE",) if wide else ())
    )
    for status in sorted(clusters, key=lambda s: (s.whole, s.cluster)):
        rule = (Text(status.rule),) if wide else ()
        table.add_row(
            Text(status.cluster, style="bold"),
            verdict(status),
            Text(status.primary or NOTHING),
            str(status.epoch),
            _standbys(status),
            size(_worst_lag(status)),
            _names_word(status),
            *rule,
        )
    troubled = [s for s in clusters if not s.whole]
    count = f"{len(clusters)} cluster{'s' * (len(clusters) != 1)}"
    if not troubled:
        return Group(table, Text(f"\n{count}, {'all ' * (len(clusters) > 1)}whole.", style=QUIET))
    ask = "  ".join(f"primacy status {s.cluster}" for s in troubled[:3])
    return Group(table, Text(f"\n{count}, {len(troubled)} not whole. More:  {ask}", style=QUIET))


def cluster(status: ClusterStatus, width: int) -> RenderableType:
    """Everything about one cluster."""
    parts: list[RenderableType] = [*_header(status), Text()]
    parts += [_members(status, width), *_member_notes(status)]
    parts += [Text(), *_candidates(status), *_names(status), *_canary(status)]
    said = f"said by {status.leader or 'a control node'}, term {status.term}, revision {status.revision}"
    parts.append(Text(said, style=QUIET))
    return Group(*parts)


def verdict(status: ClusterStatus) -> Text:
    """The state in a few words: the first thing that is looked at."""
    if status.whole:
        return Text("whole", style=f"bold {GOOD}")
    if status.phase not in set(Phase):
        return Text("not begun", style="bold yellow")
    if status.phase != Phase.STABLE:
        return Text(status.phase.lower(), style="bold yellow")
    if status.diagnosis != HEALTHY:
        return Text(f"NOT WHOLE: {status.diagnosis}", style=BAD)
    return Text("not whole", style="bold yellow")


def _header(status: ClusterStatus) -> Iterator[Text]:
    first = Text()
    first.append(status.cluster, style="bold")
    first.append("  ")
    first.append_text(
        Text("WHOLE", style=f"bold {GOOD}") if status.whole else Text("NOT WHOLE", style="bold yellow")
    )
    first.append("  ")
    first.append(status.diagnosis, style=GOOD if status.diagnosis == HEALTHY else BAD)
    if status.operation:
        first.append(f"  under way: {one_line(status.operation)}", style=BUSY)
    yield first
    yield _pairs(
        ("primary", status.primary or "none"),
        ("phase", status.phase),
        ("epoch", str(status.epoch)),
        ("timeline", str(status.timeline)),
        ("profile", status.profile),
    )
    second = _pairs(("rule", status.rule))
    if status.wanted_rule and status.wanted_rule != status.rule:
        second.append(f"   wanted {status.wanted_rule}", style=BUSY)
    if not status.settled:
        second.append("   not settled", style=BUSY)
    yield second
    if not (status.whole and status.diagnosis == HEALTHY):
        for reason in status.reasons:
            text = Text("because ", style=QUIET)
            if reason.member:
                text.append(f"{reason.member}: ", style="default")
            text.append(spoken(reason.reason), style="default")
            if reason.text:
                text.append(f" ({one_line(reason.text)})", style="default")
            yield text


def _pairs(*pairs: tuple[str, str]) -> Text:
    text = Text()
    for number, (key, value) in enumerate(pairs):
        text.append("   " * bool(number) + f"{key} ", style=QUIET)
        text.append(value)
    return text


def _members(status: ClusterStatus, width: int) -> Table:
    wide = width >= WIDE
    more = ("ADDRESS", "SITE", "VERSION") if wide else ()
    table = _table("MEMBER", "ROLE", "STATE", "POSITION", "LAG", "HEARD", "WRITES", "FREE", *more)
    for m in status.members:
        address = f"{m.address}:{m.port}" if ":" not in m.address else f"[{m.address}]:{m.port}"
        further = (address, m.site or NOTHING, _version(m.postgres_version)) if wide else ()
        table.add_row(
            Text(m.name, style="bold" if m.name == status.primary else ""),
            Text(m.role or NOTHING),
            _state(m),
            Text(m.position or NOTHING),
            _lag(m, status),
            _heard(m),
            _writes(m),
            mebibytes(m.free_mib),
            *further,
        )
    return table


def _version(number: int) -> str:
    """PostgreSQL's own number: 150018 is 15.18."""
    return f"{number // 10_000}.{number % 10_000}" if number >= 10_000 else str(number or NOTHING)


def _state(m: MemberLine) -> Text:
    text = Text(m.state or NOTHING, style=BAD if m.error else _STATE_STYLES.get(m.state, BUSY))
    if m.nofailover:
        text.append(" (nofailover)", style=QUIET)
    return text


def _lag(m: MemberLine, status: ClusterStatus) -> Text:
    return Text(NOTHING, style=QUIET) if m.name == status.primary else Text(size(m.lag_bytes))


def _heard(m: MemberLine) -> Text:
    return Text("never", style=BAD) if m.heard_age_ms is None else Text(age(m.heard_age_ms))


def _writes(m: MemberLine) -> Text:
    if m.role != "primary" or not m.write_state:
        return Text(NOTHING, style=QUIET)
    good = m.write_state == WriteState.ACKNOWLEDGED.value
    text = Text("ok" if good else spoken(m.write_state), style="" if good else BUSY)
    return text if m.write_age_ms is None else text.append(f" {duration(m.write_age_ms)}", style=QUIET)


def _member_notes(status: ClusterStatus) -> Iterator[Text]:
    for m in status.members:
        if m.replay_backlog_bytes >= 16 * 1024 * 1024:
            yield Text(
                f"{m.name}: {size(m.replay_backlog_bytes)} are received but not replayed yet", style=BUSY
            )
        if m.activity:
            yield Text(f"{m.name}: {one_line(m.activity)}", style=BUSY)
        if m.error:
            yield Text(f"{m.name}: {one_line(m.error)}", style=BAD)


def _candidates(status: ClusterStatus) -> Iterator[RenderableType]:
    """One line while all is well; with every refusal and its measured value where it isn't."""
    able = [c.member for c in status.candidates if c.eligible]
    lower = [
        c.member for c in status.candidates if not c.eligible and c.refusal == Refusal.RANKED_LOWER.value
    ]
    flawed = [c for c in status.candidates if not c.eligible and c.refusal not in _NOT_A_FLAW]
    text = Text("next primary ", style=QUIET)
    order = [*able, *(name for name in lower if name not in able)]
    if order:
        text.append(order[0], style="default")
        if order[1:]:
            text.append(f", then {listed(order[1:])}", style="default")
        yield text
    elif len(status.members) > 1 and status.candidates:
        yield text.append("nobody: a failover now would be refused", style=BAD)
    if flawed:
        yield from refusals((c.member, c.refusal, c.text) for c in flawed)


def refusals(
    lines: Iterable[tuple[str, str, str]], header: str = "CAN'T BE PRIMARY"
) -> Iterator[RenderableType]:
    """Member, reason, measured value: the same table for a status and for a refused operation."""
    table = _table("MEMBER", header, "MEASURED")
    for member, reason, measured in lines:
        table.add_row(Text(member), Text(spoken(reason), style=BUSY), Text(one_line(measured) or NOTHING))
    if table.row_count:
        yield table


def _names(status: ClusterStatus) -> Iterator[Text]:
    names = status.names
    if names is None:
        return
    text = Text("names ", style=QUIET)
    text.append(names.primary, style="default")
    text.append(" -> ", style=QUIET)
    text.append(", ".join(names.addresses) or "nothing yet", style="default")
    text.append("  ")
    text.append_text(_names_word(status))
    if names.text and not names.confirmed:
        text.append(f": {one_line(names.text)}", style=BUSY)
    yield text


def _canary(status: ClusterStatus) -> Iterator[Text]:
    canary = status.canary
    if canary is None:
        return
    text = Text("canary ", style=QUIET)
    text.append(canary.state, style=GOOD if canary.state == "writing" else BUSY)
    if canary.acknowledged_age_ms is not None:
        text.append(f", acknowledged {age(canary.acknowledged_age_ms)} ago", style="default")
    if canary.longest_gap_ms is not None:
        text.append(f"  longest gap {duration(canary.longest_gap_ms)}", style=QUIET)
        if canary.longest_gap_age_ms is not None:
            text.append(f", {duration(canary.longest_gap_age_ms)} ago", style=QUIET)
    if canary.text:
        text.append(f": {one_line(canary.text)}", style=BUSY)
    yield text


def _names_word(status: ClusterStatus) -> Text:
    if status.names is None:
        return Text(NOTHING, style=QUIET)
    return Text("confirmed", style=GOOD) if status.names.confirmed else Text("not confirmed", style=BUSY)


def _standbys(status: ClusterStatus) -> Text:
    others = [m for m in status.members if m.name != status.primary]
    good = sum(m.state in ("streaming", "voter") for m in others)
    return Text(f"{good} of {len(others)}", style="" if good == len(others) else BUSY)


def _worst_lag(status: ClusterStatus) -> int | None:
    known = [m.lag_bytes for m in status.members if m.name != status.primary and m.lag_bytes is not None]
    return max(known, default=None)


def _table(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, header_style=QUIET, padding=(0, 2, 0, 0))
    for header in headers:
        right = header in ("EPOCH", "LAG", "HEARD", "FREE")
        # Of a value that people compare or copy nothing may be cut off; the last column of words may fold.
        folds = header in (
            "MEASURED",
            "RULE",
            "STATE",
            "CLUSTER",
            "MEMBER",
            "WRITES",
            "CAN'T BE PRIMARY",
            "NOT CHOSEN",
        )
        table.add_column(header, justify="right" if right else "left", no_wrap=not folds, overflow="fold")
    return table
