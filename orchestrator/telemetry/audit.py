"""One canonical log line for each decision that changes something; repeats are a metric (style.md 3, 21)."""

from __future__ import annotations

import structlog

from common.ids import ClusterName
from orchestrator.core.decision import Decision
from orchestrator.core.record import Phase, Record
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger()


class Audit:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._said: dict[ClusterName, tuple[object, ...]] = {}
        self._known: dict[ClusterName, Record] = {}

    def decided(self, cluster: ClusterName, decision: Decision, *, took_us: int) -> bool:
        """Whether it says something else than the decision before."""
        self._metrics.turns.inc(cluster)
        self._metrics.turn_seconds.observe(took_us / 1_000_000)
        for because in decision.reasons:
            self._metrics.reasons.inc(cluster, because.reason.value)
        said = tuple((because.reason, because.member) for because in decision.reasons)
        if decision.record is None and self._said.get(cluster) == said:
            return False
        self._said[cluster] = said
        fields: dict[str, object] = {
            "cluster": cluster,
            "reasons": [because.reason.value for because in decision.reasons],
            "because": [because.text for because in decision.reasons if because.text],
        }
        record = decision.record
        if record is not None:
            fields |= {
                "epoch": record.epoch,
                "phase": record.phase.value,
                "primary": record.primary,
                "candidate": record.candidate,
                "rules": [str(rule) for rule in record.rules],
                "prior": len(record.prior),
            }
        if decision.ranking is not None:
            fields["best"] = decision.ranking.best
            fields["rejected"] = {
                refused.member: refused.refusal.value for refused in decision.ranking.refused
            }
        log.info("decision.taken" if record is not None else "decision.reasons_changed", **fields)
        return True

    def knows(self, cluster: ClusterName, record: Record) -> None:
        """What the record says now; for the gauges."""
        self._metrics.epoch.labels(cluster).set(record.epoch)
        for phase in Phase:
            self._metrics.phase.labels(cluster, phase.value).set(int(phase is record.phase))
