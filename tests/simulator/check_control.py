"""Checkers of the control plane, with a truth of their own: who was chosen, names, leases, endless repetition."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from common.ids import MemberName
from common.timebase import elapsed_ms
from orchestrator.core.names import WantedNames
from orchestrator.core.record import Phase, Record
from orchestrator.shell.leases import PROOF_TRUSTED_MS
from tests.simulator.check_choice import why_forbidden
from tests.simulator.violation import Violation

if TYPE_CHECKING:
    from tests.simulator.fleet import Fleet
    from tests.simulator.model_control import Control

_SAVES_AT_MOST = 60
_SAVES_WITHIN_US = 3_000_000
_TURNS_AT_MOST = 1_500
"""Of one node in a window of its own: a loop that spins on one view."""
_TURNS_WITHIN_US = 3_000_000


class ControlCheckers:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._world = fleet, fleet.world
        self._primary_of: dict[int, str] = {}
        self._left_us: dict[int, tuple[int, str, int]] = {}
        """epoch → when it was left, by whom, in which term (etcd restored from a copy gives a number twice)."""
        self.confirmed_epoch = 0
        self._saves: deque[int] = deque()
        self._turns: dict[str, int] = {}
        self._world.after(_TURNS_WITHIN_US, self._look_at_turns)

    # ---- the record ----

    def saved(self, old: Record | None, new: Record) -> None:
        now_us = self._world.now_us
        if new.primary is not None and new.phase is Phase.STABLE:
            self._primary_of[new.epoch] = str(new.primary)
        if old is None:
            return
        if new.epoch > old.epoch:
            self._left_us[old.epoch] = (now_us, self._fleet.etcd.holder, self._fleet.etcd.term)
        if old == new:
            raise Violation(f"what stands in the record is written again: epoch {new.epoch} {new.phase}")
        self._saves.append(now_us)
        while self._saves[0] < now_us - _SAVES_WITHIN_US:
            self._saves.popleft()
        if len(self._saves) > _SAVES_AT_MOST:
            raise Violation(
                f"{len(self._saves)} records within {_SAVES_WITHIN_US // 1_000_000} s, without end"
            )
        if old.phase is Phase.SEALING and new.phase is Phase.PROMOTING:
            why = why_forbidden(old, new)
            if why:
                raise Violation(why)
            self._sealed_in_truth(new)

    def _sealed_in_truth(self, new: Record) -> None:
        """Every seal that counts is a promise that its member keeps on its disk."""
        for name, seal in new.seals:
            state = self._fleet.agents[name].durable
            if state is None or state.incarnation != seal.incarnation:
                continue  # lost since: another incarnation
            if state.sealed_epoch < seal.epoch:
                raise Violation(
                    f"R1: {name} counts as sealed for {seal.epoch}, its disk says {state.sealed_epoch}"
                )

    # ---- leases ----

    def granted(self, node: Control, epoch: int) -> None:
        """ "Staying up" (a): once SEALING is written the old epoch gets no acknowledgement; from a leader that
        was superseded meanwhile only as long as its proof is trusted, which is as old as its sending."""
        proved_at = node.election.proof_sent_at
        if proved_at is None or elapsed_ms(since=proved_at, now=node.now) > PROOF_TRUSTED_MS:
            raise Violation(
                f"{node.name} grants a lease at {node.now}, and proved its election at {proved_at}"
            )
        left, record = self._left_us.get(epoch), self._fleet.etcd.record
        if left is None or self._fleet.etcd.went_back:
            return
        if record is not None and record.epoch <= epoch:
            return  # etcd was restored to before it was left, which nobody had heard of (R14): it is not left
        left_us, *by = left
        late_ms = (self._world.now_us - left_us - node.hidden_us) // 1_000
        drift_ms = PROOF_TRUSTED_MS * (1_000 + self._fleet.profile.drift_permille) // 1_000
        if by == [node.name, node.term] or late_ms > drift_ms:
            raise Violation(f"{node.name} grants a lease for epoch {epoch}, {late_ms} ms after it was left")

    # ---- names ----

    def named(self, wanted: WantedNames) -> None:
        """DNS was changed."""
        if wanted.epoch < self.confirmed_epoch:
            raise Violation(f"DNS names epoch {wanted.epoch} after {self.confirmed_epoch} was confirmed")
        primary = self._primary_of.get(wanted.epoch)
        addresses = [] if primary is None else self._addresses(primary)
        if wanted.primary and list(wanted.primary) != addresses:
            raise Violation(f"DNS names {wanted.primary} in epoch {wanted.epoch}, whose primary is {primary}")

    def confirmed(self, epoch: int) -> None:
        self.confirmed_epoch = max(self.confirmed_epoch, epoch)

    def _addresses(self, member: str) -> list[str]:
        found = self._fleet.spec.member(MemberName(member))
        return [] if found is None else list(found.addresses)

    # ---- spinning ----

    def _look_at_turns(self) -> None:
        self._world.after(_TURNS_WITHIN_US, self._look_at_turns)
        for node in self._fleet.nodes:
            before = self._turns.get(node.name, 0)
            if node.turns - before > _TURNS_AT_MOST:
                raise Violation(f"{node.name} decided {node.turns - before} times in 3 s: it spins")
            self._turns[node.name] = node.turns
