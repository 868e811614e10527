"""How a control node saves (orchestrator/etcd/swap.py): the same transaction once more settles an unknown outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.core.record import Record
from tests.simulator.model_etcd import Saved

if TYPE_CHECKING:
    from tests.simulator.model_control import Control

_CALL_US, TOTAL_US = 500_000, 2_000_000


class Swap:
    """One save: tried until it is answered, or its time is over."""

    def __init__(
        self,
        node: Control,
        record: Record,
        expected: int,
        ended: Callable[[int | Saved], None],
        *,
        settles: bool = False,
    ) -> None:
        self._node, self._record, self._expected = node, record, expected
        self._term, self._lease = node.term, node.lease
        self._ended, self._settles = ended, settles
        self._began = node.now
        self._tries = 0
        self._open = True
        self._attempt()

    def _attempt(self) -> None:
        if not self._open:
            return
        if self._node.now - self._began > TOTAL_US:
            self._finish(Saved.UNKNOWN)
            return
        repeated = self._tries > 0
        self._tries += 1
        self._node.ask_etcd(lambda: self._apply(repeated), self._finish)
        self._node.timer(_CALL_US, self._attempt)

    def _apply(self, repeated: bool) -> int | Saved:
        return self._node.etcd.save(
            self._record, self._expected, self._term, self._lease, repeated=repeated, settles=self._settles
        )

    def _finish(self, outcome: int | Saved) -> None:
        if self._open:
            self._open = False
            self._ended(outcome)
