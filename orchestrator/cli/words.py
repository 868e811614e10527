"""How values are said to people: ages, sizes, times, counts, and text that came from elsewhere.

Pure. What is printed as a table or a page is composed in the `show_*` modules.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

NOTHING = "-"


def duration(ms: int) -> str:
    """Short, and never more exact than people can use: `85 ms`, `1.25 s`, `3 min 20 s`, `2 h 05 min`."""
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 10_000:
        return f"{ms / 1000:.2f} s"
    if ms < 60_000:
        return f"{ms / 1000:.1f} s"
    seconds = ms // 1000
    if seconds < 3_600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    minutes = seconds // 60
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // (24 * 60)} days"


def age(ms: int | None) -> str:
    """`-` where nothing is known."""
    return NOTHING if ms is None else duration(ms)


def size(count: int | None) -> str:
    """Bytes with a binary unit: `0 B`, `16 MiB`, `1.5 GiB`."""
    if count is None:
        return NOTHING
    if count < 1024:
        return f"{count} B"
    value, units = float(count) / 1024, ["KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        del units[0]
    return f"{value:.1f} {units[0]}" if value < 10 else f"{value:.0f} {units[0]}"


def mebibytes(count: int | None) -> str:
    return NOTHING if count is None else size(count * 1024 * 1024)


def at_wall(wall_ms: int, zone: datetime.tzinfo | None = None) -> datetime.datetime:
    """`zone` None: that of the person who looks."""
    return datetime.datetime.fromtimestamp(wall_ms / 1000, tz=datetime.UTC).astimezone(zone)


def date_and_time(wall_ms: int, zone: datetime.tzinfo | None = None) -> str:
    return at_wall(wall_ms, zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def time_of_day(wall_ms: int, zone: datetime.tzinfo | None = None) -> str:
    """With milliseconds."""
    return at_wall(wall_ms, zone).strftime("%H:%M:%S.%f")[:-3]


def spoken(reason: str) -> str:
    """A stable name as words: `too_far_behind` → `too far behind`."""
    return reason.replace("_", " ")


def plain(text: str) -> str:
    """Text of a server, safe to print: an escape sequence in it must not reach the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text).strip()


def one_line(text: str) -> str:
    return " ".join(plain(text).split())


def listed(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    names = list(names)
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
