"""DeadlineTruth finds a deadline that is not what "Staying up" says: each host is given one that reckons otherwise."""

from __future__ import annotations

import pytest

from agents.core.deadline import Deadline
from common.timebase import MS_US, Instant, after_ms
from tests.simulator.broken import SECOND_US, run, whole_fleet
from tests.simulator.fleet import Fleet
from tests.simulator.model_network import Weather
from tests.simulator.violation import Violation


class _ReadAfterwards(Deadline):
    def extended(self, *, begun_at: Instant, lease_ms: int, now: Instant, margin_ms: int) -> Deadline:
        return _ReadAfterwards(after_ms(now, lease_ms))


class _TheLastWord(Deadline):
    def extended(self, *, begun_at: Instant, lease_ms: int, now: Instant, margin_ms: int) -> Deadline:
        return _TheLastWord(after_ms(begun_at, lease_ms))


class _NeverFinal(Deadline):
    def extended(self, *, begun_at: Instant, lease_ms: int, now: Instant, margin_ms: int) -> Deadline:
        return _NeverFinal(Instant(max(self.at or 0, after_ms(begun_at, lease_ms))))


def _with(deadline: type[Deadline]) -> Fleet:
    fleet = whole_fleet()
    prober = fleet.agents["a"].prober
    prober.deadline = deadline(prober.deadline.at)
    return fleet


def test_a_time_that_was_read_after_the_answer_is_found() -> None:
    fleet = _with(_ReadAfterwards)
    with pytest.raises(
        Violation, match=r"^U: the deadline of a is \d+, and no reason was begun 5000 ms before"
    ):
        run(fleet, SECOND_US)


def test_a_deadline_that_an_older_reason_takes_back_is_found() -> None:
    fleet = _with(_TheLastWord)
    fleet.network.weather = Weather(slow_permille=300)
    with pytest.raises(Violation, match=r"^U: the deadline of a shrinks"):
        run(fleet, 60 * SECOND_US)


def test_a_final_deadline_that_is_extended_is_found() -> None:
    fleet = _with(_NeverFinal)
    agent = fleet.agents["a"]
    while agent.prober.pending_entry is None:
        run(fleet, 500)
    agent.host.guard.die()  # it would end the agent that stood still for so long
    agent.host.freeze(agent.host.agent_process)
    run(fleet, (agent.profile.lease_ms - agent.profile.guard_margin_ms) * MS_US + 50_000)
    agent.host.thaw()
    with pytest.raises(Violation, match=r"^U: the deadline of a was final"):
        run(fleet, SECOND_US)


def test_an_honest_deadline_is_not_complained_of() -> None:
    run(whole_fleet(), 20 * SECOND_US)
