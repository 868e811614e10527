"""`python -m deploy.detection.document [--check]`: docs/detection.md, from the evidence of `make bench-detection`.

Of each profile the newest run that measured it counts, so that one can be measured again. Pure, but for the files. No
figure on that page is typed by hand: timings are those of `common/profile.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from common.profile import PROFILES, Profile
from deploy.bench.document import ROOT
from deploy.bench.kinds import HOST_LOST, POSTGRES_FROZEN
from deploy.bench.rounds import Run
from deploy.detection.account import Alarms, Detected, alarms, detected
from deploy.detection.conditions import CONDITIONS
from deploy.detection.spell import Spell
from deploy.detection.words import CHOOSING, HOW, SWITCHING, THEORY

EVIDENCE = ROOT / "docs" / "evidence"
DOCUMENT = ROOT / "docs" / "detection.md"
_FAULTS = (HOST_LOST.name, POSTGRES_FROZEN.name)


@dataclass(frozen=True, slots=True)
class Evidence:
    name: str
    found: Mapping[str, Any]

    @property
    def began(self) -> str:
        return str(self.found["setting"]["began"])

    @property
    def profiles(self) -> frozenset[str]:
        return frozenset(one["profile"] for one in (*self.found["runs"], *self.found["spells"]))


def newest_of_each(all_of_it: Iterable[Evidence]) -> dict[str, Evidence]:
    """By profile; by when a run began, since two of one day are told apart by nothing in their names."""
    chosen: dict[str, Evidence] = {}
    for one in sorted(all_of_it, key=lambda one: one.began):
        chosen |= dict.fromkeys(one.profiles, one)
    return {profile: chosen[profile] for profile in PROFILES if profile in chosen}


def text(chosen: Mapping[str, Evidence], others: Iterable[Evidence] = ()) -> str:
    """`others`: all that is kept; of what a newer run took the place of, the sums are told."""
    runs: list[Run] = []
    spells: list[Spell] = []
    for profile, one in chosen.items():
        runs += [run for run in msgspec.convert(one.found["runs"], list[Run]) if run.profile == profile]
        spells += [s for s in msgspec.convert(one.found["spells"], list[Spell]) if s.profile == profile]
    used = list({one.name: one for one in chosen.values()}.values())
    linked = " and ".join(f"[{one.name}](evidence/{one.name})" for one in used)
    lines = [
        "# Detection: how soon, and how often for nothing\n",
        f"Written by `python -m deploy.detection.document` from {linked}, which `make bench-detection` made.\n",
        HOW,
        "## The profiles\n",
        *_profiles(),
        "",
        THEORY,
        "## Measured\n",
        *(_setting(one, [p for p, its in chosen.items() if its is one]) for one in used),
        "A shared machine, and minutes, not weeks: good for comparing the profiles with each other.\n",
        "### How soon\n",
        *_how_soon(runs),
        "### How often for nothing\n",
        *_for_nothing(spells),
        *(_lost(one.found) for one in used),
        *_superseded(chosen, others),
        "## Which one\n",
        CHOOSING,
        "## Changing it\n",
        SWITCHING,
        _switched({profile: _switched_after_s(profile, one.found) for profile, one in chosen.items()}),
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


def _setting(one: Evidence, profiles: list[str]) -> str:
    setting = one.found["setting"]
    beside = f"; beside it: {setting['beside']}" if setting["beside"] else ""
    return (
        f"{', '.join(f'`{profile}`' for profile in profiles)}: {setting['began']}, commit {setting['commit']}, "
        f"{setting['cores']} cores, {setting['memory_mib'] / 1024:.0f} GiB, kernel {setting['kernel']}, PostgreSQL "
        f"{_major(setting['postgres'])}, etcd {setting['etcd']}; three control nodes, three members, one client that "
        f"writes 100 rows a second through DNS. Load average {setting['load_average']} before{beside}. It took "
        f"{one.found['took_s'] / 60:.0f} minutes.\n"
    )


def _lost(found: Mapping[str, Any]) -> str:
    return (
        f"{found['acknowledged']} acknowledged rows in the whole run, {len(found['lost'])} lost, "
        f"{len(found['second_writes'])} acknowledged by a second writer.\n"
        + "".join(f"\nFAILED: {complaint}\n" for complaint in found["complaints"])
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
        "longest gap | rule changes | leader changes | disk |"
    )
    yield "| --- | --- |" + " ---: |" * 9
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
        "the client's gap. *Disk*: how much of the time somebody on the machine waited for one.\n"
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
    disk = "" if one.disk_waits_percent is None else f"{one.disk_waits_percent:.0f} %"
    return (
        f"| {one.condition} | `{one.profile}` | {one.minutes:.1f} | {one.false_failovers} | {one.suspicions} | "
        f"{one.silence_at_a_node_ms:.0f} | {one.silence_everywhere_ms:.0f} | {one.client_gap_ms:.0f} | {one.rules} | "
        f"{one.leaders} | {disk} |"
    )


def _superseded(chosen: Mapping[str, Evidence], others: Iterable[Evidence]) -> Iterator[str]:
    for one in sorted(others, key=lambda one: one.began):
        for profile in PROFILES:
            if profile not in one.profiles or chosen[profile].name == one.name:
                continue
            spells = [s for s in msgspec.convert(one.found["spells"], list[Spell]) if s.profile == profile]
            counts = ", ".join(f"{s.condition} {s.false_failovers}" for s in spells)
            causes = "; ".join(cause for s in spells for cause in s.causes)
            yield (
                f"Before, `{profile}` in [{one.name}](evidence/{one.name}), commit {one.found['setting']['commit']}, "
                f"load average {one.found['setting']['load_average']} before: false failovers by condition: {counts}"
                + (f" ({causes})" if causes else "")
                + ".\n"
            )


def _switched_after_s(profile: str, found: Mapping[str, Any]) -> float | None:
    """None where it may have been the cluster's from its birth on."""
    after_s: Mapping[str, float] = found["switched_after_s"]
    was_changed = len(after_s) > 1 or found["setting"].get("born_with", profile) != profile
    return after_s.get(profile) if was_changed else None


def _switched(after_s: Mapping[str, float | None]) -> str:
    said = ", ".join(
        f"`{profile}` {seconds:.1f} s" for profile, seconds in after_s.items() if seconds is not None
    )
    return f"Measured, from the command's start until the primary was heard at the new pace: {said}.\n"


def _major(bin_directory: str) -> str:
    return next((word for word in Path(bin_directory).parts if word.isdigit()), "")


def all_evidence(folder: Path = EVIDENCE) -> list[Evidence]:
    return [Evidence(path.name, json.loads(path.read_text())) for path in folder.glob("*-detection.json")]


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.detection.document", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    chosen = parser.parse_args(words)
    kept = all_evidence()
    found = newest_of_each(kept)
    if not found:
        print(
            f"there is no evidence in {EVIDENCE}: "
            "make bench-detection ARGS='--json docs/evidence/<date>-<commit>-detection.json'"
        )
        return 1
    wanted = text(found, kept)
    if chosen.check:
        return 0 if DOCUMENT.exists() and DOCUMENT.read_text() == wanted else 1
    DOCUMENT.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
