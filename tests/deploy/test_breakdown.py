"""The parts of an outage."""

from __future__ import annotations

import pytest

from deploy.bench.breakdown import PARTS, moments_us, parts_ms

FAILOVER = [
    ("suspected", 1_100_000),
    ("sealing", 1_300_000),
    ("promoting", 1_360_000),
    ("promoted", 1_450_000),
    ("names", 1_470_000),
    ("serving", 1_500_000),
    ("whole", 9_000_000),
]


def test_the_parts_add_up_to_the_outage() -> None:
    parts = parts_ms(FAILOVER, 95_000, 1_580_000)
    assert parts == {
        "detect": 1005.0, "confirm": 200.0, "seal": 60.0, "promote": 90.0, "quorum": 50.0, "dns": 0.0, "client": 80.0,
    }  # fmt: skip
    assert sum(parts.values()) == pytest.approx(1485.0)


def test_what_happened_before_the_writing_stopped_is_no_outage() -> None:
    moments = [("sealing", 100), ("promoting", 300_000), ("promoted", 400_000), ("serving", 450_000)]
    parts = parts_ms(moments, 200_000, 500_000)
    assert (parts["detect"], parts["confirm"], parts["seal"]) == (0.0, 0.0, 100.0)


def test_a_client_that_was_quicker_than_the_account_leaves_no_negative_part() -> None:
    parts = parts_ms(FAILOVER, 95_000, 1_480_000)
    assert all(ms >= 0 for ms in parts.values())
    assert sum(parts.values()) == pytest.approx(1385.0)


def test_without_an_account_everything_is_the_clients() -> None:
    assert parts_ms([], 0, 70_000) == {part: 70.0 if part == "client" else 0.0 for part in PARTS}


def test_a_candidate_given_up_counts_to_the_promotion_that_succeeded() -> None:
    moments = [*FAILOVER[1:4], ("sealing", 1_500_000), ("promoting", 1_600_000), ("promoted", 1_700_000)]
    parts = parts_ms(sorted(moments, key=lambda m: m[1]), 1_200_000, 1_900_000)
    assert (parts["confirm"], parts["seal"], parts["promote"]) == (0.0, 300.0, 100.0)


def test_wall_clock_becomes_the_clients_clock() -> None:
    incidents = [{"steps": [{"name": "sealing", "wall_ms": 1_000}, {"name": "suspected", "wall_ms": 990}]}]
    assert moments_us(incidents, 400_000) == [("suspected", 590_000), ("sealing", 600_000)]
