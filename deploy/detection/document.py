"""`python -m deploy.detection.document [--check]`: docs/detection.md, from the newest evidence of `make bench-detection`.

Pure, but for the files. No figure on that page is typed by hand: timings are those of `common/profile.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from common.profile import PROFILES, Profile
from deploy.bench.document import ROOT
from deploy.bench.rounds import HOST_LOST, POSTGRES_FROZEN, Run
from deploy.detection.account import Alarms, Detected, alarms, detected
from deploy.detection.conditions import CONDITIONS
from deploy.detection.spell import Spell
from deploy.detection.words import CHOOSING, HOW, SWITCHING, THEORY

EVIDENCE = ROOT / "docs" / "evidence"
DOCUMENT = ROOT / "docs" / "detection.md"
_FAULTS = (HOST_LOST, POSTGRES_FROZEN)


def text(name: str, found: Mapping[str, Any]) -> str:
    setting = found["setting"]
    runs = msgspec.convert(found["runs"], list[Run])
    spells = msgspec.convert(found["spells"], list[Spell])
    lines = [
        "# Detection: how soon, and how often for nothing\n",
        f"Written by `python -m deploy.detection.document` from [{name}](evidence/{name}), which `make bench-detection` "
        "made.\n",
        HOW,
        "## The profiles\n",
        *_profiles(),
        "",
        THEORY,
        "## Measured\n",
        _setting(setting, found),
        "### How soon\n",
        *_how_soon(runs),
        "### How often for nothing\n",
        *_for_nothing(spells),
        f"{found['acknowledged']} acknowledged rows in all, {len(found['lost'])} lost, {len(found['second_writes'])} "
        "acknowledged by a second writer.\n",
        *(f"FAILED: {complaint}\n" for complaint in found["complaints"]),
        "## Which one\n",
        CHOOSING,
        "## Changing it\n",
        SWITCHING,
        _switched(found["switched_after_s"]),
    ]
    return "\n".join(lines)


def _profiles() -> Iterator[str]:
    yield f"| | {' | '.join(f'`{name}`' for name in PROFILES)} |"
    yield "| --- |" + " ---: |" * len(PROFILES)
    for what, field in (
        ("a primary beats every", "beat_primary_every_ms"),
        ("a standby beats every", "beat_standby_every_ms"),
        ("floor: a shorter silence is never suspicious", "suspect_floor_ms"),
        ("ceiling: a longer one always is", "suspect_ceiling_ms"),
        ("the other witnesses are waited for", "confirm_within_ms"),
        ("its agent makes a commit of its own every", "probe_every_ms"),
        ("no commit is flushed for so long: it can't write", "stalled_after_ms"),
        ("a standby is gone for so long: commits wait for it no more", "voter_lost_ms"),
        ("lease: a superseded primary may be read from for so long, and for what clocks drift", "lease_ms"),
    ):
        yield f"| {what} | {' | '.join(f'{getattr(one, field)} ms' for one in PROFILES.values())} |"
    yield f"| beats in a row that must be missing | {' | '.join(str(_missing(p)) for p in PROFILES.values())} |"


def _missing(profile: Profile) -> int:
    """How many beats fall into the floor."""
    return profile.suspect_floor_ms // profile.beat_primary_every_ms


def _setting(setting: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    beside = f"; beside it: {setting['beside']}" if setting["beside"] else ""
    return (
        f"{setting['began']}, commit {setting['commit']}, {setting['cores']} cores, {setting['memory_mib'] // 1024} GiB, "
        f"kernel {setting['kernel']}, PostgreSQL {_major(setting['postgres'])}, etcd {setting['etcd']}; three control "
        f"nodes, three members, one client that writes 100 rows a second through DNS. Load average "
        f"{setting['load_average']} before{beside}. It took {found['took_s'] / 60:.0f} minutes. A shared machine: figures "
        "of one run, for comparing the profiles with each other.\n"
    )


def _how_soon(runs: list[Run]) -> Iterator[str]:
    yield "| fault | profile | runs | failed | suspected | epoch left: median | longest | outage: median | longest |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for kind in _FAULTS:
        for profile in PROFILES:
            one = detected(profile, kind, runs)
            if one is not None:
                yield _detected_row(one)
    yield ""
    yield (
        "In ms, from the fault on; medians. *Epoch left*: the record said SEALING and was saved, from when on the old "
        "primary is granted nothing. *Outage*: the longest gap between two acknowledged rows of the client. A lost host's "
        "link goes down before anything on it is killed; a frozen PostgreSQL stands still, its agent does not.\n"
    )


def _detected_row(one: Detected) -> str:
    times = (
        one.suspected_median_ms,
        one.left_median_ms,
        one.left_maximum_ms,
        one.outage_median_ms,
        one.outage_maximum_ms,
    )
    cells = " | ".join("" if ms is None else f"{ms:.0f}" for ms in times)
    return f"| {one.kind} | `{one.profile}` | {one.run_count} | {one.failed_count} | {cells} |"


def _for_nothing(spells: list[Spell]) -> Iterator[str]:
    yield (
        "| condition | profile | minutes | false failovers | suspicions | silence at one node | at all three | client's "
        "longest gap | rule changes | leader changes |"
    )
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    summed = [
        one
        for condition in CONDITIONS
        for profile in PROFILES
        if (one := alarms(profile, condition.name, spells)) is not None
    ]
    yield from map(_alarms_row, summed)
    yield ""
    yield (
        "Nothing is broken in any of them. *Loss*: of the packets that the primary sends, and of those sent to it, so "
        "many are dropped, its clients' and standbys' too: what a client sees is what TCP makes of that. *Busy*: one "
        "endless loop for each core, at the priority of everything else. *Suspicions*: that came to nothing. *Silence*: "
        "the longest time without a beat of the primary, as the kernels of the control nodes received them, in ms; so is "
        "the client's gap.\n"
    )
    for one in summed:
        if one.suspicions_by_outcome:
            what = "; ".join(f"{outcome} ({count})" for outcome, count in one.suspicions_by_outcome)
            yield f"- `{one.profile}`, {one.condition}: why they came to nothing: {what}."
    for one in summed:
        for cause in one.causes:
            yield f"- `{one.profile}`, {one.condition}: **false failover**: {cause}."
    yield ""


def _alarms_row(one: Alarms) -> str:
    return (
        f"| {one.condition} | `{one.profile}` | {one.minutes:.1f} | {one.false_failovers} | {one.suspicions} | "
        f"{one.silence_at_a_node_ms:.0f} | {one.silence_everywhere_ms:.0f} | {one.client_gap_ms:.0f} | {one.rules} | "
        f"{one.leaders} |"
    )


def _switched(after_s: Mapping[str, float]) -> str:
    said = ", ".join(f"`{profile}` {seconds:.1f} s" for profile, seconds in after_s.items())
    return f"Measured, from the command's start until the primary was heard at the new pace: {said}.\n"


def _major(bin_directory: str) -> str:
    return next((word for word in Path(bin_directory).parts if word.isdigit()), "")


def newest(folder: Path = EVIDENCE) -> Path | None:
    """By when it began."""
    return max(folder.glob("*-detection.json"), key=_began, default=None)


def _began(path: Path) -> str:
    return str(json.loads(path.read_text())["setting"]["began"])


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.detection.document", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    chosen = parser.parse_args(words)
    evidence = newest()
    if evidence is None:
        print(
            f"there is no evidence in {EVIDENCE}: "
            "make bench-detection ARGS='--json docs/evidence/<date>-<commit>-detection.json'"
        )
        return 1
    wanted = text(evidence.name, json.loads(evidence.read_text()))
    if chosen.check:
        return 0 if DOCUMENT.exists() and DOCUMENT.read_text() == wanted else 1
    DOCUMENT.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
