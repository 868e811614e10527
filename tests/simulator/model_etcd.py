"""Model etcd: the election key under a lease, one record by compare-and-swap, and what goes wrong with it.

Linearizable while it has a majority; without one nothing is answered, and what was sent meanwhile may have
been kept or not (the client's `OutcomeUnknown`). Leases stand still while there is no majority and begin anew
after it (as a new leader inside etcd grants them). It may be restored from an older copy (R14).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from common.assignment import Version
from common.facts import NO_VERSION
from orchestrator.core.record import Record
from tests.simulator.model_network import ETCD, Network
from tests.simulator.world import World

LEASE_US = 3_000_000
_CLUSTER_ID = 77
Result = TypeVar("Result")


class Saved(Enum):
    CONFLICT = "conflict"
    LOST_LEADERSHIP = "lost leadership"
    UNKNOWN = "unknown"
    NOT_DELIVERED = "not delivered"


@dataclass(frozen=True, slots=True)
class Copy:
    """A backup."""

    record: Record | None
    record_revision: int
    revision: int
    term: int
    holder: str
    lease: int


class Etcd:
    def __init__(
        self, world: World, network: Network, saved: Callable[[Record | None, Record], None]
    ) -> None:
        self.world, self.network, self._on_saved = world, network, saved
        self.cluster_id = _CLUSTER_ID
        self.record: Record | None = None
        self.record_revision = 0
        self.revision = 100
        self.term = 0
        """The create revision of the election key; 0: there is none."""
        self.holder = ""
        self.lease = 0
        self._lease_until_us = 0
        self._leases = 0
        self.down_until_us = 0
        self.slow_until_us = 0
        self.went_back = False
        """It was restored from a copy that lacks something."""
        self.must_stop = False
        """A member has obeyed a higher version than the restored one: nobody may go on from it (R14)."""
        self.obeyed_above: Mapping[str, Version] = {}
        """Who that is, and what each one of them had obeyed."""
        self.restored_us = 0
        self.watchers: list[Callable[[], None]] = []
        """Told, each over its own path, when the election key changes."""

    # ---- asked over the network ----

    def ask(self, node: str, apply: Callable[[], Result], answer: Callable[[Result], None]) -> None:
        """`answer` may never be called; `apply` may have happened all the same."""

        def arrived() -> None:
            if self.is_down:
                if self.world.chance(250):  # taken in by a member that has no majority yet: kept after all
                    self.world.after(self.down_until_us - self.world.now_us + 1_000, work)
                return
            work()

        def work() -> None:
            takes_us = self.world.between(300, 2_000)
            if self.world.now_us < self.slow_until_us:
                takes_us += self.world.between(20_000, 900_000)
            self.world.after(takes_us, finish)

        def finish() -> None:
            if self.is_down:
                return
            result = apply()
            self.network.call(ETCD, node, lambda: answer(result))

        self.network.call(node, ETCD, arrived)

    @property
    def is_down(self) -> bool:
        return self.world.now_us < self.down_until_us

    # ---- transactions ----

    def campaign(self, node: str) -> tuple[int, int]:
        """(term, lease) where the key is absent; (0, 0) where somebody holds it."""
        if self.term:
            return 0, 0
        return self.elect(node)

    def elect(self, node: str) -> tuple[int, int]:
        self.revision += 1
        self._leases += 1
        self.term, self.holder, self.lease = self.revision, node, self._leases
        self._lease_until_us = self.world.now_us + LEASE_US
        self._expire_later(self.lease)
        return self.term, self.lease

    def keep_alive(self, lease: int) -> bool:
        if lease != self.lease or not self.term:
            return False
        self._lease_until_us = self.world.now_us + LEASE_US
        return True

    def revoke(self, lease: int) -> None:
        if lease == self.lease and self.term:
            self._vacate()

    def save(
        self, record: Record, expected: int, term: int, lease: int, *, repeated: bool, settles: bool = False
    ) -> int | Saved:
        """The swap of orchestrator/etcd/swap.py: the same transaction again settles an unknown outcome. `settles`: the
        record that was read is stored as it is, which only raises its revision."""
        if (term, lease) != (self.term, self.lease):
            return Saved.LOST_LEADERSHIP
        if expected != self.record_revision:
            if repeated and self.record_revision > expected and self.record == record:
                return self.record_revision
            return Saved.CONFLICT
        before = self.record
        self.revision += 1
        self.record_revision = self.revision
        self.record = record
        if not (settles and record == before):
            self._on_saved(before, record)
        return self.revision

    def _expire_later(self, lease: int) -> None:
        def look() -> None:
            if lease != self.lease or not self.term:
                return
            left_us = max(self._lease_until_us, self.down_until_us) - self.world.now_us
            if left_us > 0:
                self.world.after(left_us, look)
            else:
                self._vacate()

        self.world.after(LEASE_US, look)

    def heal(self) -> None:
        """There is a majority from now on: a lease gets its time anew, and not that of a majority which was to come later
        (seed 1350007359)."""
        self.down_until_us = self.slow_until_us = 0
        if self.term and self._lease_until_us > self.world.now_us + LEASE_US:
            self._lease_until_us = self.world.now_us + LEASE_US
            self._expire_later(self.lease)

    def _vacate(self) -> None:
        self.term, self.holder, self.lease = 0, "", 0
        self.revision += 1
        for tell in self.watchers:
            tell()

    # ---- faults ----

    def lose_majority(self, for_us: int) -> None:
        self.world.count("etcd without a majority")
        self.down_until_us = max(self.down_until_us, self.world.now_us + for_us)
        # A new leader inside etcd grants every lease anew.
        self._lease_until_us = max(self._lease_until_us, self.down_until_us + LEASE_US)

    def have_majority(self) -> None:
        """Back at once, however long it was to be away; its new leader grants every lease anew."""
        self.down_until_us = self.world.now_us
        self._lease_until_us = self.world.now_us + LEASE_US
        self._expire_later(self.lease)

    def be_slow(self, for_us: int) -> None:
        self.slow_until_us = max(self.slow_until_us, self.world.now_us + for_us)

    def copy(self) -> Copy:
        return Copy(self.record, self.record_revision, self.revision, self.term, self.holder, self.lease)

    @property
    def is_foreign(self) -> bool:
        return self.cluster_id != _CLUSTER_ID

    def restore(self, copy: Copy, *, obeyed: Mapping[str, Version], cluster_id: int | None = None) -> None:
        """All members came back from a backup; nobody's lease is in it any more. `obeyed`: the highest version of
        each member."""
        before = self.record_revision
        mine = NO_VERSION if copy.record is None else Version(copy.record.epoch, copy.record_revision)
        self.world.count("etcd restored from a copy")
        self.record, self.record_revision, self.revision = copy.record, copy.record_revision, copy.revision
        if cluster_id is not None:
            self.cluster_id = cluster_id
        # A second restore may bring back what the first one lost.
        self.obeyed_above = {name: version for name, version in obeyed.items() if version > mine}
        self.must_stop = bool(self.obeyed_above) or self.is_foreign
        self.restored_us = self.world.now_us
        self.went_back = self.must_stop or self.went_back or copy.record_revision != before
        self._vacate()
