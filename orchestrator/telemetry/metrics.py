"""What Prometheus scrapes from a control node. Labels are bounded: names of ours, never error texts.

A metric belongs here when an alert, the board or the benchmark reads it.
"""

from __future__ import annotations

from collections import Counter as Numbers
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

_FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Tally(Collector):
    """A counter for what happens with every beat and every turn: a lock and a look-up of labels for each would cost
    as much as the beat itself. Only the event loop's thread counts."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, tuple(labels)
        self._numbers: Numbers[tuple[str, ...]] = Numbers()
        registry.register(self)

    def inc(self, *labels: str) -> None:
        self._numbers[labels] += 1

    def describe(self) -> Iterator[CounterMetricFamily]:
        """The registry finds it by name then."""
        yield CounterMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, number in list(self._numbers.items()):
            family.add_metric(labels, number)
        yield family


class Metrics:
    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.beats = Tally("primacy_beats", "Beats by what became of them", ["outcome"], registry)
        self.inbox_drops = Tally(
            "primacy_inbox_lost", "Events replaced by newer ones, or without room", ["how"], registry
        )
        self.inbox_depth = Gauge("primacy_inbox_depth", "Events that wait for the loop", registry=registry)
        self.turns = Tally("primacy_turns", "Decisions taken", ["cluster"], registry)
        self.turn_seconds = Histogram(
            "primacy_turn_seconds", "One decision, without saving", buckets=_FAST, registry=registry
        )
        self.reasons = Tally(
            "primacy_decision_reasons", "Reasons of decisions", ["cluster", "reason"], registry
        )
        self.phase = Gauge(
            "primacy_phase", "1 for the present phase", ["cluster", "phase"], registry=registry
        )
        self.epoch = Gauge("primacy_epoch", "Of the record", ["cluster"], registry=registry)
        self.leading = Gauge("primacy_leading", "1 while this control node leads", registry=registry)
        self.term = Gauge("primacy_term", "Of this control node's leadership; 0: none", registry=registry)
        self.leadership_changes = Counter(
            "primacy_leadership_changes", "Won or lost by this node", ["what"], registry=registry
        )
        self.save_seconds = Histogram(
            "primacy_record_save_seconds",
            "One compare-and-swap of a record",
            buckets=_FAST,
            registry=registry,
        )
        self.saves = Counter("primacy_record_saves", "Saves by outcome", ["outcome"], registry=registry)
        self.effects = Counter(
            "primacy_effects", "Effects by outcome", ["kind", "outcome"], registry=registry
        )
        self.effect_seconds = Histogram(
            "primacy_effect_seconds", "From dispatch to outcome", ["kind"], buckets=_FAST, registry=registry
        )
        self.calls = Counter(
            "primacy_calls",
            "Outside calls under a policy (primacy policies)",
            ["policy", "outcome"],
            registry=registry,
        )
        self.sessions = Gauge("primacy_agent_sessions", "Open streams of agents", registry=registry)
        self.failovers = Counter(
            "primacy_failovers", "Operations that ended", ["cluster", "outcome"], registry=registry
        )
        self.outage_seconds = Gauge(
            "primacy_outage_seconds",
            "Of the newest failover, by the canary where there is one",
            ["cluster"],
            registry=registry,
        )
        self.whole = Gauge(
            "primacy_cluster_whole", "1 while the cluster is whole", ["cluster"], registry=registry
        )

        self.canary_attempts = Counter(
            "primacy_canary_attempts",
            "Connects and writes of the canary",
            ["cluster", "what", "outcome"],
            registry=registry,
        )
        self.canary_write_seconds = Histogram(
            "primacy_canary_write_seconds",
            "An acknowledged write of the canary",
            ["cluster"],
            buckets=_FAST,
            registry=registry,
        )
        self.canary_gap_seconds = Gauge(
            "primacy_canary_gap_seconds",
            "Since the newest acknowledged write of the canary; only where it runs",
            ["cluster"],
            registry=registry,
        )
        self.canary_longest_gap_seconds = Gauge(
            "primacy_canary_longest_gap_seconds",
            "Longest between two acknowledged writes since this node leads",
            ["cluster"],
            registry=registry,
        )

    def text(self, names: Sequence[str] = ()) -> bytes:
        """All of them, or those of these names."""
        return generate_latest(self.registry.restricted_registry(names) if names else self.registry)
