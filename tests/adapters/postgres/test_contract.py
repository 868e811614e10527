"""Real PostgreSQL finds in every experiment what is written there, as the simulator's model does (tests/contract)."""

from __future__ import annotations

import pytest

from agents.postgres.versions import read_version
from tests.adapters.postgres.kit import Home
from tests.contract.postgres.experiment import Experiment
from tests.contract.postgres.on_real import real_servers
from tests.contract.postgres.scripts import EXPERIMENTS

pytestmark = pytest.mark.real


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
async def test_in_postgresql(home: Home, experiment: Experiment) -> None:
    async with real_servers(home, experiment.members) as servers:
        facts = await experiment.run(servers)
    assert facts == dict(experiment.expected(read_version(home.bin_directory).major))
