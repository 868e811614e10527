"""A few faults of the catalogue, with every verdict but the bounds on outages (`make chaos` has those)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.catalogue import CATALOGUE
from tests.chaos.play import Chaos
from tests.needs import needs_bind, needs_etcd, needs_netns, needs_nft, needs_postgresql

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_a_sample_of_the_catalogue_is_as_it_must_be(tmp_path: Path) -> None:
    for need in (needs_postgresql, needs_etcd, needs_netns, needs_nft, needs_bind):
        need()
    said: list[str] = []
    chaos = Chaos(said.append, 1, tmp_path, timed=False)
    sample = [scenario for scenario in CATALOGUE if scenario.in_sample]
    chaos.play(sample)
    assert [row.name for row in chaos.rows] == [scenario.name for scenario in sample]
    running = [
        row.observed.running_text for row in chaos.rows
    ]  # where the evidence does not outlive the machine
    assert [row.complaints for row in chaos.rows if not row.passed] == [], "\n".join([*said, *running])
