"""One run of the bench as a section of docs/performance.md, from its evidence. Pure.

Aims are today's (`kinds`), also for a run that was measured when there were others.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.bench.breakdown import PARTS
from deploy.bench.circumstances import Circumstances, circumstances_of
from deploy.bench.kinds import kind_of

_BLANK_LINES = re.compile(r"\n{3,}")
_COMMIT_IN_NAME = re.compile(r"\d{4}-\d\d-\d\d-([0-9a-f]{7,})-")


def section(name: str, found: Mapping[str, Any]) -> str:
    """`name`: of the file with the evidence."""
    setting, figures = found["setting"], found["figures"]
    under = circumstances_of(found)
    moved = [one for one in figures if one["parts_ms"]]
    parts = [
        f"## {under.title}\n",
        f"{setting['began']}, commit {_commit(name, setting)}, {setting['cores']} cores, kernel {setting['kernel']}, "
        f"PostgreSQL {_version(setting, under)}, etcd {setting['etcd']}, profile `{under.profile}`, load average "
        f"{setting['load_average']} before. [{name}](evidence/{name})\n",
        *_data(setting),
        *_outages(figures),
        *_behind(figures),
        *(["\nWhere it went, median of each step, ms:\n", *_breakdown(moved)] if moved else []),
        "",
        *_floor(found["floor_ms"]),
        *_load(found["under_load"], found["detected_after_load"]),
        f"{found['acknowledged']} acknowledged rows, {len(found['lost'])} lost, "
        f"{len(found['second_writes'])} acknowledged by a second writer."
        + "".join(f"\n\nFAILED: {complaint}" for complaint in found["complaints"]),
        "",
    ]
    return _BLANK_LINES.sub("\n\n", "\n".join(parts))


def _commit(name: str, setting: Mapping[str, Any]) -> str:
    """The first runs had it in their file's name alone."""
    named = _COMMIT_IN_NAME.match(name)
    return str(setting.get("commit") or (named[1] if named else "unknown"))


def _version(setting: Mapping[str, Any], under: Circumstances) -> str:
    return (
        str(under.major or "of an unknown major") if "/" in setting["postgres"] else str(setting["postgres"])
    )


def _data(setting: Mapping[str, Any]) -> list[str]:
    gib = setting.get("gib_by_member") or {}
    if not gib:
        return []
    members = ", ".join(f"{member} {size}" for member, size in gib.items())
    return [f"Data directories before the first fault, GiB, WAL not counted: {members}.\n"]


def _outages(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        "| fault | runs | failed | median, ms | maximum, ms | floor, ms | ratio | aim | met |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    notes = []
    for one in figures:
        aim = kind_of(one["kind"]).aim
        interrupted = one.get("interrupted", "")
        met = aim.is_met(one["median_ms"], one["floor_ms"], interrupted) and not one["failed_count"]
        ratio = "" if one["ratio"] is None else f"{one['ratio']:.1f}"
        rows.append(
            f"| {one['labels']} | {one['run_count']} | {one['failed_count']} | {_ms(one['median_ms'])} | "
            f"{_ms(one['maximum_ms'])} | {_ms(one['floor_ms'])} | {ratio} | {aim.text} | {'yes' if met else 'no'} |"
        )
        if one.get("control_ms") is not None:
            notes.append(
                f"{one['labels']}: {_ms(one['maximum_ms'])} ms under it, {_ms(one['control_ms'])} ms before it, "
                f"{one['reconnect_count']} reconnects"
            )
    lines = [*rows, ""]
    if notes:
        lines.append(f"Longest gaps where nothing must be noticed: {'; '.join(notes)}.\n")
    ends = [one["ends_sent"] for one in figures if one["ends_sent"] is not None]
    if any(one["kind"] == "host lost" for one in figures):
        lines.append(f"FIN and RST that left the lost hosts: {sum(ends) if ends else 'not counted'}.")
    return lines


def _behind(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    held = [one for one in figures if one.get("another_count") is not None]
    if not held:
        return []
    rows = ["\n| fault | another one took over | the one that was behind did |", "| --- | ---: | ---: |"]
    return [
        *rows,
        *(f"| {one['labels']} | {one['another_count']} | {one['behind_count']} |" for one in held),
    ]


def _breakdown(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [f"| fault | {' | '.join(PARTS)} |", "| --- |" + " ---: |" * len(PARTS)]
    for one in figures:
        cells = " | ".join(_ms(one["parts_ms"].get(part)) for part in PARTS)
        rows.append(f"| {one['labels']} | {cells} |")
    return rows


def _floor(floor_ms: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    lines = []
    for kind, runs in floor_ms.items():
        totals = [run["total"] for run in runs]
        lines.append(
            f"Floor, {kind}: median {statistics.median(totals):.0f} ms, "
            f"{min(totals):.0f} to {max(totals):.0f} ms in {len(totals)} runs.\n"
        )
    return lines


def _load(found: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["False alarms under load: not measured in this run.\n"]
    alarm = "no false alarm" if found["epochs"][0] == found["epochs"][1] else "THE EPOCH CHANGED"
    lines = [
        f"{found['seconds']:.0f} s with {found['busy_loops']} busy loops (load average {found['load_average']}): {alarm}; "
        f"{found['suspicions']} suspicions that were not confirmed; the client's longest gap "
        f"{found['longest_gap_ms']:.0f} ms.\n"
    ]
    if after is not None:
        lines.append(
            f"A host lost right afterwards, same profile: detected after {_ms(after['detected_after_ms'])} ms, "
            f"outage {_ms(after['outage_ms'])} ms.\n"
        )
    return lines


def _ms(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"
