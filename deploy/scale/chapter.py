"""The chapter on thousands of members in docs/performance.md, from the evidence of `make bench-scale`.

Pure. A size is measured by itself where a machine has no hour for all of them in a row: of each the newest counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]

SUFFIX = "-scale.json"
FAILOVER_MORE_MS = 300
"""One failover among thousands may cost so much more than alone."""
ALL_REPLACED_MS = 10_000
ONE_CORE_PERCENT = 100
ASKED_FOR = 9_999
"""Members: ten thousand in whole clusters."""

_HEAD = """\
## Thousands of members

Made from {names}, which `make bench-scale` made: one control node with etcd on the same host, all members beating at it \
(primaries 4 times a second, standbys once, profile `patient`), sealed, opened and acknowledged as real ones. Some \
clusters are played by whole agents with their streams; those fail over. A failover here is the control node's part \
alone (from the fault to the orders to serve and to follow): what stands in for PostgreSQL needs no time. "Lost at once" \
are hosts that fall silent: this profile suspects nobody before 2 s.
"""
_COLUMNS = (
    "members",
    "clusters",
    "streams of agents",
    "beats a second",
    "CPU, % of a core",
    "memory, MiB",
    "dropped",
    "a beat's round trip, ms (half, 99 %)",
    "all known after, s",
    "failover, ms (median, maximum)",
    "lost at once: last replaced, ms",
    "false alarms",
    "elections won",
    "beside it, % of a core",
    "load before",
    "commit",
)


def chapter(evidence: Sequence[tuple[str, Figures]]) -> list[str]:
    """`evidence`: names and contents of the files, oldest first. Nothing where there is none."""
    newest: dict[int, tuple[str, Figures, Figures]] = {}
    failed: dict[int, str] = {}
    for name, document in evidence:
        for one in document["sizes"]:
            newest[one["members"]] = (name, document["setting"], one)
            failed.pop(one["members"], None)
        for one in document["failed"]:
            failed[one["members"]] = (
                f"{one['members']:,} members, {document['setting']['commit']}, load {one['load_average']:.1f}: {one['why']}"
            )
    if not newest:
        return []
    names = sorted({name for name, _, _ in newest.values()})
    rows = [_HEAD.format(names=", ".join(f"[{name}](evidence/{name})" for name in names))]
    rows += [f"| {' | '.join(_COLUMNS)} |", "|" + " ---: |" * len(_COLUMNS)]
    for members in sorted(newest):
        _, setting, one = newest[members]
        rows.append(f"| {' | '.join(_row(setting, one))} |")
    alone = min(newest)
    rows += ["", *_verdicts(newest[alone][2], {size: one for size, (_, _, one) in newest.items()})]
    rows += [f"\nNot measured since: {words}" for _, words in sorted(failed.items())]
    return [*rows, ""]


def _row(setting: Figures, one: Figures) -> list[str]:
    trip = one["flock"]["round_trip_ms"]
    singles, replaced = one["singles_ms"], one["replaced_ms"]
    return [
        f"{one['members']:,}",
        f"{one['clusters']:,}",
        f"{one['streams']}",
        f"{one['beats'].get('beats accepted', 0) / one['seconds']:,.0f}",
        f"{one['cpu_percent']:.0f}",
        f"{one['rss_mib']:.0f}",
        f"{dropped(one)}",
        f"{trip['p50']:.1f}, {trip['p99']:.0f}",
        f"{one['ready_s']:.0f}",
        f"{statistics.median(singles):.0f}, {max(singles):.0f}" if singles else "none",
        f"{one['lost']}: {max(replaced):.0f}" if replaced else "none",
        f"{one['false_alarms']}",
        f"{one['terms']}",
        f"{one['others_cpu_percent']:.0f}",
        f"{one['load_average']:.1f}",
        str(setting["commit"]),
    ]


def dropped(one: Figures) -> int:
    """By the kernel at the port of the beats, and by the inbox."""
    return int(one["udp_drops"] + one["beats"].get("inbox_lost dropped", 0))


def _verdicts(alone: Figures, sizes: Mapping[int, Figures]) -> list[str]:
    """What was asked for, of 10,000 members; of the largest fleet below that where they were not measured."""
    members = max((size for size in sizes if size <= ASKED_FOR), default=max(sizes))
    one = sizes[members]
    verdicts = [
        (f"at most one core: {one['cpu_percent']:.0f} %", one["cpu_percent"] <= ONE_CORE_PERCENT),
        (f"nothing dropped: {dropped(one)}", dropped(one) == 0),
    ]
    if one["singles_ms"] and alone["singles_ms"] and alone is not one:
        more_ms = statistics.median(one["singles_ms"]) - statistics.median(alone["singles_ms"])
        verdicts.append(
            (
                f"one failover at most {FAILOVER_MORE_MS} ms more than with {alone['members']} members: {more_ms:+.0f} ms "
                "(medians)",
                more_ms <= FAILOVER_MORE_MS,
            )
        )
    if one["replaced_ms"]:
        last_ms = max(one["replaced_ms"])
        verdicts.append(
            (
                f"{one['lost']} primaries lost at once all replaced within {ALL_REPLACED_MS // 1000} s: {last_ms / 1000:.1f} s",
                last_ms <= ALL_REPLACED_MS,
            )
        )
    return [
        f"Asked for at {ASKED_FOR:,} members, here of {members:,}: "
        + "; ".join(f"{words} ({'met' if met else 'missed'})" for words, met in verdicts)
        + "."
    ]
