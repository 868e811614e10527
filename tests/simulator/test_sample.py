"""Some seeds of a soak are run again from the sources."""

from __future__ import annotations

import pytest

from tests.simulator.sample import chosen, differing
from tests.simulator.swarm import run


def test_a_trace_that_is_another_one_from_the_sources_is_named() -> None:
    assert differing({3: run(3).digest, 4: "of another world"}) == [4]


def test_a_sample_is_taken_from_the_whole_soak() -> None:
    digests = {str(seed): f"d{seed}" for seed in range(0, 1000, 100)}
    assert chosen({"digests": digests}, 5) == {seed: f"d{seed}" for seed in range(0, 1000, 200)}
    assert chosen({"digests": digests}, 100) == {int(seed): digest for seed, digest in digests.items()}


def test_a_soak_that_kept_no_digests_says_so() -> None:
    with pytest.raises(SystemExit, match="run it again"):
        chosen({"digests": {}}, 5)
