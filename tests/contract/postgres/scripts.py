"""All experiments, in the order in which they are told."""

from __future__ import annotations

from tests.contract.postgres.experiment import Experiment
from tests.contract.postgres.scripts_commits import COMMITS
from tests.contract.postgres.scripts_streams import STREAMS
from tests.contract.postgres.scripts_timelines import TIMELINES

EXPERIMENTS: tuple[Experiment, ...] = (*COMMITS.all, *STREAMS.all, *TIMELINES.all)
