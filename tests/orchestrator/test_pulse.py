"""What the canary knows of its own stalls."""

from __future__ import annotations

from orchestrator.egress.pulse import Pulse
from tests.orchestrator.fakes import HandClock


def test_a_pulse_counts_how_long_the_process_did_not_run() -> None:
    clock = HandClock()
    pulse = Pulse(clock)
    for _ in range(10):
        clock.forward_ms(29)
        pulse.beat()
    assert pulse.stalled_us == 0, "late by less than 10 ms is how any machine is"
    clock.forward_ms(20 + 1_500)
    assert pulse.stalled_us == 1_500_000, "also before the pulse itself has come round"
    pulse.beat()
    assert pulse.stalled_us == 1_500_000
