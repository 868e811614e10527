"""Which lease may be acknowledged to a beat right now ("Staying up" a).

The loop writes what each decision grants, before it saves anything; the ingress of beats asks, after a
beat arrived. A grant is handed out only while the newest proof of our election was sent at most V ago.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.clock import Clock
from common.ids import ClusterName, MemberName
from common.timebase import Instant, after_ms
from orchestrator.core.decision import Grant

PROOF_TRUSTED_MS = 1_000
"""V. Longer: a stale leader keeps a superseded primary open for longer. Shorter: a slow etcd ends leases."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Of our own election; only handed out while our clock says that the term still holds."""

    term: int
    sent_at: Instant


class Leases:
    def __init__(
        self, clock: Clock, proof: Callable[[], Proof | None], *, trusted_ms: int = PROOF_TRUSTED_MS
    ):
        self._clock, self._proof, self._trusted_ms = clock, proof, trusted_ms
        self._grants: dict[ClusterName, Grant] = {}

    def stand(self, cluster: ClusterName, grant: Grant | None) -> None:
        """What the newest decision grants; None withdraws."""
        if grant is None:
            self._grants.pop(cluster, None)
        else:
            self._grants[cluster] = grant

    def withdraw_all(self) -> None:
        self._grants.clear()

    @property
    def is_proved(self) -> bool:
        """Whether what arrived before this moment may be granted anything."""
        proof = self._proof()
        return proof is not None and after_ms(proof.sent_at, self._trusted_ms) >= self._clock.now()

    def standing(self, cluster: ClusterName, member: MemberName, epoch: int) -> Grant | None:
        """What the newest decision grants to this one, if the election `is_proved`."""
        grant = self._grants.get(cluster)
        if grant is None or grant.member != member or grant.epoch != epoch:
            return None
        return grant

    def for_beat(self, cluster: ClusterName, member: MemberName, epoch: int) -> Grant | None:
        """Call it after the beat arrived. None: acknowledge without a grant."""
        grant = self.standing(cluster, member, epoch)
        return grant if grant is not None and self.is_proved else None
