"""What the simulator repeats of the shells, because it can't run them, is what they have.

Rule of admission: a value of the production code that a model has a copy of.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from agents.postgres import settings
from common.resilience import POLICIES
from orchestrator.etcd.election import ElectionTimes

_TIMES = ElectionTimes()

_SAME: dict[str, Any] = {
    "agent_steps.MAY_BE_CUT_OFF": "agents.driver._MAY_BE_CUT_OFF",
    "model_agent._MARK_EVERY_US": ("agents.app.MARK_EVERY_S", 1_000_000),
    "model_guard._RESTART_FIRST_US": "agents.guard.guard.RESTART_FIRST_US",
    "model_guard._RESTART_LONGEST_US": "agents.guard.guard.RESTART_LONGEST_US",
    "model_guard._LIVED_LONG_US": "agents.guard.guard.LIVED_LONG_US",
    "model_guard._FIRST_REPORT_WITHIN_US": "agents.guard.guard.FIRST_REPORT_WITHIN_US",
    "model_prober._OPENING_EVERY_MS": "agents.prober.OPENING_EVERY_MS",
    "model_prober._OPENING_FOR_MS": "agents.prober.OPENING_FOR_MS",
    "model_link._FACTS_EVERY_US": ("agents.link.session.FACTS_EVERY_S", 1_000_000),
    "model_control._CALM_EVERY_US": ("orchestrator.shell.ticker.CALM_EVERY_MS", 1_000),
    "model_control._BUSY_EVERY_US": ("orchestrator.shell.ticker.BUSY_EVERY_MS", 1_000),
    "model_control._SAVES_IN_A_ROW_MAX": "orchestrator.shell.loop.SAVES_IN_A_ROW_MAX",
    "model_control._CALM": "orchestrator.shell.case._CALM",
    "model_dispatch._REPEATED_EVERY_US": ("orchestrator.egress.assignments.REPEAT_EVERY_MS", 1_000),
    "model_election.STAND_DOWN_US": ("orchestrator.shell.leadership.STAND_DOWN_S", 1_000_000),
    "fleet._LISTED_FOR_US": ("orchestrator.etcd.control_nodes._TTL_S", 1_000_000),
}
"""The copy → what it is a copy of; with how many of its units make one of the original's."""


def _at(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    return getattr(import_module(module), name)


@pytest.mark.parametrize("copy", _SAME)
def test_a_copied_constant_is_that_of_the_shell(copy: str) -> None:
    original = _SAME[copy]
    dotted, units = original if isinstance(original, tuple) else (original, None)
    wanted = _at(dotted)
    assert _at(f"tests.simulator.{copy}") == (wanted if units is None else wanted * units)


@pytest.mark.parametrize(
    ("copy", "original_us"),
    [
        ("model_etcd.LEASE_US", _TIMES.ttl_s * 1_000_000),
        ("model_election._MARGIN_US", _TIMES.margin_ms * 1_000),
        ("model_election._BEAT_EVERY_US", _TIMES.beat_every_ms * 1_000),
        ("model_election._PROVE_EVERY_US", _TIMES.prove_every_ms * 1_000),
        ("model_election._RETRY_US", _TIMES.retry_every_ms * 1_000),
        ("model_swap._CALL_US", POLICIES["etcd.write"].timeout_ms * 1_000),
        ("model_swap.TOTAL_US", POLICIES["etcd.request"].timeout_ms * 1_000),
        ("model_link._WELCOME_WITHIN_US", POLICIES["agent.session.open"].timeout_ms * 1_000),
        ("model_names._WITHIN_US", POLICIES["dns.exchange"].timeout_ms * 1_000),
    ],
)
def test_elections_and_calls_of_the_simulator_take_the_time_of_the_real_ones(
    copy: str, original_us: int
) -> None:
    assert _at(f"tests.simulator.{copy}") == original_us


def test_receivers_and_walsenders_keep_the_settings_of_the_real_ones() -> None:
    def set_to(name: str) -> int:
        return int(settings._ALWAYS[name].removesuffix("s")) * 1_000_000

    assert _at("tests.simulator.model_streaming._STATUS_EVERY_US") == set_to("wal_receiver_status_interval")
    assert _at("tests.simulator.model_streaming._RECEIVER_TIMEOUT_US") == set_to("wal_receiver_timeout")
    assert _at("tests.simulator.model_streaming._SENDER_TIMEOUT_US")[1] == set_to("wal_sender_timeout")
