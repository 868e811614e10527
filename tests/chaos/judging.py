"""The verdict on one fault: what the witnesses saw, who is the primary now, what was said. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy.bench.hearing import Hearing
from deploy.lab.witnesses import MULTIHOST, REFERENCE
from tests.chaos.canary import WITHIN_MS, Said, Seen, apart_ms
from tests.chaos.scenario import NO_INTERRUPTION_MS, Scenario, Then
from tests.chaos.words import wrong_words

# Further apart than this it is not the machine: the canary measures something else.
WRONG_FROM_MS = 500


@dataclass(frozen=True, slots=True)
class Observed:
    """What was there after one fault. Texts are what Primacy said; everything else is the witnesses' or ours."""

    epoch_before: int
    epoch_after: int
    primary_before: str
    primary_after: str
    hearing: Hearing | None
    """None: the witnesses could not be heard, and `failed` says why."""
    whole_after_s: float | None
    """Since everything was mended; None: never."""
    history_text: str
    status_text: str
    failed: str = ""
    """What did not come in time."""
    notes: tuple[str, ...] = ()
    canary: Said | None = None
    """What the incidents since say of the outage; None: no incident, or no canary saw it."""
    witness: Seen | None = None
    """The longest gap of those that write through DNS; None: the reference client had none that ended."""
    led_throughout: bool = True
    """By one control node in one term. Else a canary may have come too late for any of it."""
    running_text: str = ""
    """What ran on the members' hosts, and what their servers did, when the cluster did not become whole in time."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    outage_dns_ms: float | None
    outage_multihost_ms: float | None
    lost_count: int
    second_writer_count: int
    whole_after_s: float | None
    complaints: tuple[str, ...]
    """What must never be, or must have been."""
    late: tuple[str, ...]
    """Bounds that were passed, and nothing else; on a busy machine it may be the machine."""
    observed: Observed
    took_s: float = 0.0
    load_average: float = 0.0
    """Of this machine, at the end: what else it had to do."""
    evidence: str = field(default="")

    @property
    def passed(self) -> bool:
        return not self.complaints and not self.late


def judged(scenario: Scenario, seen: Observed, took_s: float = 0.0, *, timed: bool = True) -> Row:
    """`timed`: whether the bounds on outages count, which they can't where a machine has other things to do."""
    hearing = seen.hearing
    return Row(
        name=scenario.name,
        outage_dns_ms=None if hearing is None else hearing.outage_ms[REFERENCE],
        outage_multihost_ms=None if hearing is None else hearing.outage_ms[MULTIHOST],
        lost_count=0 if hearing is None else len(hearing.lost),
        second_writer_count=0 if hearing is None else len(hearing.second_writes),
        whole_after_s=seen.whole_after_s,
        complaints=tuple(_complaints(scenario, seen)),
        late=(*_too_long(scenario, hearing), *_canary_apart(scenario, seen))
        if timed and hearing is not None
        else (),
        observed=seen,
        took_s=took_s,
    )


def _complaints(scenario: Scenario, seen: Observed) -> list[str]:
    found = list(seen.notes)
    if seen.hearing is not None:
        found += seen.hearing.complaints
        found += _endless(seen.hearing)
    if seen.failed:
        found.append(seen.failed)
    if seen.whole_after_s is None:
        found.append(f"not whole again within {scenario.whole_within_s:.0f} s")
    found += _canary_wrong(scenario, seen)
    moved = seen.epoch_after != seen.epoch_before
    if scenario.then is Then.STAYS and moved:
        found.append(f"failed over: epoch {seen.epoch_before} to {seen.epoch_after}")
    if scenario.then is Then.MOVES and not moved:
        found.append(f"no failover: still epoch {seen.epoch_before} under {seen.primary_before}")
    if scenario.is_explained:
        found += wrong_words(scenario, seen.history_text, seen.status_text)
    return found


def _canary_wrong(scenario: Scenario, seen: Observed) -> list[str]:
    if seen.canary is None or seen.witness is None:
        moved = scenario.then is Then.MOVES and seen.epoch_after > seen.epoch_before
        was_due = moved and seen.witness is not None and seen.led_throughout
        return ["no incident has the outage as the canary saw it"] if was_due else []
    is_wrong = not scenario.hurts_the_canary and apart_ms(seen.canary, seen.witness) > WRONG_FROM_MS
    return [_both(seen.canary, seen.witness)] if is_wrong else []


def _canary_apart(scenario: Scenario, seen: Observed) -> list[str]:
    if seen.canary is None or seen.witness is None or scenario.hurts_the_canary:
        return []
    is_apart = WITHIN_MS < apart_ms(seen.canary, seen.witness) <= WRONG_FROM_MS
    return [f"{_both(seen.canary, seen.witness)}: more than {WITHIN_MS} ms apart"] if is_apart else []


def _both(canary: Said, witness: Seen) -> str:
    return f"the canary saw {canary}, the witness {witness}"


def _endless(hearing: Hearing) -> list[str]:
    return [f"{writer}: the outage never ended" for writer, ms in hearing.outage_ms.items() if ms is None]


def _too_long(scenario: Scenario, hearing: Hearing) -> list[str]:
    found = []
    limits = ((REFERENCE, scenario.outage_ms_max), (MULTIHOST, scenario.multihost_limit_ms()))
    for writer, limit_ms in limits:
        outage_ms = hearing.outage_ms[writer]
        if outage_ms is not None and limit_ms is not None and outage_ms > limit_ms:
            found.append(f"{writer}: {outage_ms:.0f} ms without a write, at most {limit_ms} ms are due")
        is_uninterrupted = limit_ms is not None and limit_ms <= NO_INTERRUPTION_MS
        if is_uninterrupted and hearing.reconnects[writer]:
            found.append(f"{writer} had to connect anew {hearing.reconnects[writer]} times")
    return found
