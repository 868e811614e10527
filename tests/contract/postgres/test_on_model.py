"""The simulator's model PostgreSQL finds in every experiment what is written there (the real half: tests/adapters)."""

from __future__ import annotations

import pytest

from tests.contract.postgres.experiment import Experiment
from tests.contract.postgres.on_model import model_servers
from tests.contract.postgres.scripts import EXPERIMENTS

SEEDS = range(12)
OLDEST_MAJOR = 15
"""The model is of the oldest: what newer ones do better it must not count on."""


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
async def test_in_the_model(experiment: Experiment) -> None:
    for seed in SEEDS:
        facts = await experiment.run(model_servers(seed, experiment.members))
        assert facts == dict(experiment.expected(OLDEST_MAJOR)), f"seed {seed}"
