"""All faults, in the order in which they are played."""

from __future__ import annotations

from tests.chaos import (
    faults_agents,
    faults_control,
    faults_disks,
    faults_hosts,
    faults_network,
    faults_postgres,
    faults_together,
)
from tests.chaos.scenario import Scenario

CATALOGUE: tuple[Scenario, ...] = (
    *faults_postgres.SCENARIOS,
    *faults_agents.SCENARIOS,
    *faults_hosts.SCENARIOS,
    *faults_network.SCENARIOS,
    *faults_control.SCENARIOS,
    *faults_disks.SCENARIOS,
    *faults_together.SCENARIOS,
)


def chosen(names: list[str]) -> tuple[Scenario, ...]:
    """Those of these names, or whose names have one of these words; all without any. LookupError: a word of none."""
    for name in names:
        if not any(name in scenario.name for scenario in CATALOGUE):
            raise LookupError(f"no fault is called {name!r}; --list shows them")
    exact = {scenario.name for scenario in CATALOGUE} & set(names)
    loose = [name for name in names if name not in exact]
    return tuple(
        scenario
        for scenario in CATALOGUE
        if not names or scenario.name in exact or any(word in scenario.name for word in loose)
    )
