"""What the control nodes' logs say of suspicions, and of epochs that were left: when, why, and what came of it.

Pure, but for what reads the logs. Only what leads writes of decisions, one line for each that says something else than
the one before. A suspicion begins with `primary_suspected` (or an observer that doubts itself), and ends when the primary
spoke again or its epoch was left. The incidents tell only of those that led to a failover, so they can't be counted there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from deploy.lab.witnessed import Witnessed

_SILENT = re.compile(r"silent for (\d+) ms, the threshold is (\d+) ms")


class Outcome(StrEnum):
    """What came of a suspicion; of several the first one here that holds."""

    FAILOVER = "failover"
    DOUBTED_ITSELF = "this control node heard nobody else either"
    HEARD_ELSEWHERE = "another control node heard it"
    POSTGRES_ANSWERS = "its PostgreSQL answered"
    STREAMS = "a standby received from it"
    SPOKE_AGAIN = "it spoke again"


_BY_REASON = {
    "observer_doubts_itself": Outcome.DOUBTED_ITSELF,
    "control_path_cut": Outcome.HEARD_ELSEWHERE,
    "agent_lost": Outcome.POSTGRES_ANSWERS,
    "witness_disagrees": Outcome.STREAMS,
    "primary_suspected": Outcome.SPOKE_AGAIN,
    "primary_host_lost": Outcome.SPOKE_AGAIN,  # given up for lost, but nobody could take over yet
}
_RANK = list(Outcome)


@dataclass(frozen=True, slots=True)
class Suspicion:
    at_wall_ms: int
    silent_ms: int
    """When it began; 0 where the log does not say."""
    threshold_ms: int
    outcome: Outcome


def suspicions(lines: Iterable[str], cluster: str) -> list[Suspicion]:
    """Of one cluster, from one control node's log, oldest first. Lines that are no JSON are left out."""
    found: list[Suspicion] = []
    open_one: Suspicion | None = None
    for line in lines:
        entry = _decision(line, cluster)
        if entry is None:
            continue
        outcomes = [_BY_REASON[reason] for reason in entry["reasons"] if reason in _BY_REASON]
        left = entry.get("phase") == "SEALING"
        if left:
            outcomes = [Outcome.FAILOVER] if open_one is not None or outcomes else []
        if not outcomes:
            if open_one is not None:
                found.append(open_one)
                open_one = None
            continue
        outcome = min(outcomes, key=_RANK.index)
        if open_one is None:
            silent_ms, threshold_ms = _silence(entry)
            open_one = Suspicion(_wall_ms(entry), silent_ms, threshold_ms, outcome)
        elif _RANK.index(outcome) < _RANK.index(open_one.outcome):
            open_one = replace(open_one, outcome=outcome)
        if left:
            found.append(open_one)
            open_one = None
    return [*found, open_one] if open_one is not None else found


@dataclass(frozen=True, slots=True)
class Departure:
    """An epoch was left."""

    at_wall_ms: int
    epoch: int
    """The new one."""
    why: str


def departures(lines: Iterable[str], cluster: str) -> list[Departure]:
    """Of one cluster, from one control node's log: also where no incident could be stored. Only the first line of each
    epoch's SEALING says why."""
    found: dict[int, Departure] = {}
    for line in lines:
        entry = _decision(line, cluster)
        if entry is not None and entry.get("phase") == "SEALING" and entry["epoch"] not in found:
            why = f"{', '.join(entry['reasons'])}: {'; '.join(entry.get('because', ()))}"
            found[entry["epoch"]] = Departure(_wall_ms(entry), entry["epoch"], why)
    return list(found.values())


def departures_between(cluster: Witnessed, from_wall_ms: int, to_wall_ms: int) -> list[Departure]:
    """From the logs of all control nodes, the earliest word on each epoch."""
    found: dict[int, Departure] = {}
    for lines in _logs(cluster):
        for one in departures(lines, cluster.cluster):
            known = found.get(one.epoch)
            if known is None or one.at_wall_ms < known.at_wall_ms:
                found[one.epoch] = one
    between = [one for one in found.values() if from_wall_ms <= one.at_wall_ms <= to_wall_ms]
    return sorted(between, key=lambda one: one.at_wall_ms)


def suspicions_between(cluster: Witnessed, from_wall_ms: int, to_wall_ms: int) -> list[Suspicion]:
    """From the logs of all control nodes."""
    found = [one for lines in _logs(cluster) for one in suspicions(lines, cluster.cluster)]
    return [one for one in found if from_wall_ms <= one.at_wall_ms <= to_wall_ms]


def _logs(cluster: Witnessed) -> Iterator[list[str]]:
    for host in cluster.lab.plan.control_hosts:
        log = cluster.lab.supervisor.log_file(f"{host.name}/orchestrator")
        if log.exists():
            yield log.read_text(errors="replace").splitlines()


def _decision(line: str, cluster: str) -> dict[str, Any] | None:
    if '"decision.' not in line:
        return None
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    is_decision = entry.get("event") in ("decision.taken", "decision.reasons_changed")
    return entry if is_decision and entry.get("cluster") == cluster else None


def _silence(entry: dict[str, Any]) -> tuple[int, int]:
    for text in entry.get("because", ()):
        said = _SILENT.search(text)
        if said is not None:
            return int(said[1]), int(said[2])
    return 0, 0


def _wall_ms(entry: dict[str, Any]) -> int:
    return int(datetime.fromisoformat(str(entry["timestamp"])).timestamp() * 1000)
